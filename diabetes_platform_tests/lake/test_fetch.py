"""Fetching: a path or a URL becomes a local file with its content hash; no secret is kept."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from diabetes_platform.lake.fetch import fetched, public_name
from diabetes_platform.lake.sources import SourceError
from diabetes_platform.settings import PIMA_CSV


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The default writes to stderr."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "pima.csv").write_bytes(PIMA_CSV.read_bytes())
    handler = functools.partial(SilentHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_gives_the_same_content_hash_as_the_file(web: str) -> None:
    expected = hashlib.sha256(PIMA_CSV.read_bytes()).hexdigest()
    with fetched(str(PIMA_CSV)) as file, fetched(f"{web}/pima.csv") as download:
        assert file.content_hash == download.content_hash == expected
        assert download.name == f"{web}/pima.csv"
        assert file.batch_id == expected[:12]


def test_a_url_that_has_nothing_is_refused_without_its_secrets(web: str) -> None:
    with (
        pytest.raises(SourceError, match="cannot be read") as refused,
        fetched(f"{web}/no?key=s3cret"),
    ):
        pass
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:secret@host:8443/a/b.csv?token=x#y", "https://host:8443/a/b.csv"),
        ("s3://bucket/key.parquet", "s3://bucket/key.parquet"),
    ],
)
def test_a_source_is_named_without_credentials(url: str, name: str) -> None:
    assert public_name(url) == name
