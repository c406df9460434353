"""Downloads: unchanged URLs, errors with the HTTP status, and messages without secrets."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from diabetes_platform.lake.fetch import download, public_name
from diabetes_platform.lake.source_files import SourceError
from diabetes_platform_tests.lake.conftest import chained_errors
from diabetes_platform_tests.lake.web import CONTENT, Web, serving

SECRET = "s3cret"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "source"


def refusal(url: str, target: Path) -> str:
    with pytest.raises(SourceError) as refused:
        download(url, target)
    assert chained_errors(refused.value) == []
    assert SECRET not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "/pima.csv",
        "/pima.csv?X-Amz-Credential=AK%2F2026%2Fs3&X-Amz-Signature=a%2Bb%3D",
        "/two%20words.csv",
        "/a%2Fb.csv",
        "/endless",
    ],
    ids=["plain", "presigned", "space", "encoded slash", "no Content-Length"],
)
def test_requests_the_url_unchanged(web: Web, target: Path, address: str) -> None:
    download(f"{web.url}{address}", target)
    assert web.targets == [address]
    assert target.read_bytes() == CONTENT


def test_follows_a_redirect(web: Web, target: Path) -> None:
    download(f"{web.url}/moved", target)
    assert web.targets == ["/moved", f"/there?key={SECRET}"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500])
def test_names_the_http_status(web: Web, target: Path, status: int) -> None:
    message = refusal(f"{web.url}/status/{status}?key={SECRET}", target)
    assert message.startswith(
        f"{web.url}/status/{status}: cannot be read: HTTP status {status}; allowed: "
    )


@pytest.mark.parametrize(
    ("path", "error"), [("/cut", "RemoteProtocolError"), ("/elsewhere", "UnsupportedProtocol")]
)
def test_rejects_a_broken_response(web: Web, target: Path, path: str, error: str) -> None:
    assert f"{path}: cannot be read: {error}; allowed: " in refusal(
        f"{web.url}{path}?key={SECRET}", target
    )


def test_names_an_unreachable_server(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/a.csv"
        message = refusal(f"{address}?key={SECRET}", target)
    assert message.startswith(f"{address}: cannot be read: ConnectError; allowed: ")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            f"https://user:{SECRET}@host:8443/a.csv",
            "https://host:8443/a.csv: the URL contains a user or password; ",
        ),
        (f"http://{SECRET}@host/a.csv", "http://host/a.csv: the URL contains a user or password; "),
        (
            f"s3://key:{SECRET}@bucket/a.csv",
            "s3://bucket/a.csv: the URL contains a user or password; ",
        ),
        (f"https://user:{SECRET}/more@host/a.csv", "source: the URL cannot be parsed; allowed: "),
        (f"https://user:{SECRET}?@host/a.csv", "source: the URL cannot be parsed; allowed: "),
        (f"https://user:[{SECRET}@host/a.csv", "source: the URL cannot be parsed; allowed: "),
        (f"ftp://user:{SECRET}@host/a.csv", "source: the URL has the scheme 'ftp'; allowed: "),
        ("https:///a.csv", "source: the URL cannot be parsed; allowed: "),
    ],
)
def test_rejects_credentials_in_a_url_without_repeating_them(
    target: Path, url: str, message: str
) -> None:
    assert refusal(url, target).startswith(message)


def test_logs_no_query(web: Web, target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    download(f"{web.url}/moved?key={SECRET}", target)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("pima.csv", "/bucket/pima.csv"),
        ("year/two words.csv", "/bucket/year/two%20words.csv"),
        ("year%20one/a%20b.csv", "/bucket/year%2520one/a%2520b.csv"),
    ],
)
def test_uses_an_s3_key_as_written(
    web: Web, target: Path, monkeypatch: pytest.MonkeyPatch, key: str, sent: str
) -> None:
    as_s3(monkeypatch, web)
    download(f"s3://bucket/{key}", target)
    assert web.targets == [sent]
    assert target.read_bytes() == CONTENT


def test_rejects_a_missing_s3_object(
    web: Web, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_s3(monkeypatch, web)
    message = refusal("s3://status/404", target)
    assert message.startswith("s3://status/404: cannot be read: FileNotFoundError; allowed: ")


def as_s3(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    """Make `web` the S3 endpoint of this process."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:secret@host:8443/a/b.csv?token=x#y", "https://host:8443/a/b.csv"),
        ("http://[::1]:80/a%20b.csv", "http://[::1]:80/a%20b.csv"),
        ("s3://bucket/key.parquet", "s3://bucket/key.parquet"),
    ],
)
def test_the_public_name_has_no_credentials(url: str, name: str) -> None:
    assert public_name(url) == name
