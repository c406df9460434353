"""Alert channels: their URLs, and messages to a real webhook and real mail servers."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diabetes_platform.clients import alert_channels
from diabetes_platform.clients.alert_channels import (
    Alert,
    AlertUrlError,
    check_channels,
    parse_channels,
    send,
)
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.clients.mail_servers import (
    MailServer,
    running_mail_server,
    write_certificate,
)
from diabetes_platform_tests.clients.webhooks import SECRET, Webhook, running_webhook
from diabetes_platform_tests.root_log import recorded_root_log

MESSAGE = Alert(
    "batch failed at staging/patients: no rows (http://127.0.0.1:3000/runs/1)",
    {"job": "batch", "run_id": "1", "message": "no rows", "failed_steps": ("staging", "raw")},
)
RECIPIENTS = "to=doctor@clinic.example,nurse@clinic.example&from=platform@clinic.example"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "_RETRY_WAIT_SECONDS", 0.0)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with running_webhook() as running:
        yield running


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with running_mail_server() as running:
        yield running


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path / "mail.pem")


@pytest.fixture
def tls_mail_server(certificate: Path) -> Iterator[MailServer]:
    with running_mail_server(certificate) as running:
        yield running


def problems(urls: str) -> list[str]:
    return list(send(parse_channels(urls), MESSAGE).values())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("slack://a/b/c", ["URL 1 (slack://)"]),
        ("slack://a/b/c, jsons://host/x", ["URL 1 (slack://)", "URL 2 (jsons://)"]),
        ("slack://a/b/c jsons://host/x\n", ["URL 1 (slack://)", "URL 2 (jsons://)"]),
        (
            "mailtos://host?to=a@b.example,c@d.example,json://h",
            ["URL 1 (mailtos://)", "URL 2 (json://)"],
        ),
    ],
)
def test_splits_urls_at_commas_and_spaces(text: str, names: list[str]) -> None:
    channels = parse_channels(text)
    assert [channel.name for channel in channels] == [f"PLATFORM_ALERT_URLS: {n}" for n in names]


@pytest.mark.parametrize(
    "text", ["hooks.example/T0SECRET", "json://host T0SECRET", "json://host,T0SECRET", ""]
)
def test_rejects_text_that_is_no_url_without_showing_it(text: str) -> None:
    with pytest.raises(AlertUrlError, match="URL 1") as raised:
        check_channels(parse_channels(text))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("slak://T0SECRET/x", "(slak://) is not a valid", id="unknown scheme"),
        pytest.param("slack://T0SECRET", "(slack://) is not a valid", id="missing token"),
        pytest.param("json://:9", "(json://) is not a valid", id="no host"),
        pytest.param("json://host:T0SECRET", "(json://) is not a valid", id="invalid port"),
        pytest.param(
            "mailtos://u:T0SECRET@h.example?to=a@b.example,typo",
            "(mailtos://) has an invalid recipient",
            id="invalid recipient",
        ),
        pytest.param(
            "mailto://u:T0SECRET@h.example?to=a@b.example",
            "(mailto://) sends its password unencrypted",
            id="unencrypted password",
        ),
        pytest.param(
            "jsons://h/T0SECRET?verify=no", "(jsons://) does not verify TLS", id="unverified TLS"
        ),
    ],
)
def test_rejects_a_url_by_its_number_and_scheme_without_showing_it(
    url: str, problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        recorded_root_log() as log,
        pytest.raises(AlertUrlError, match=r"^PLATFORM_ALERT_URLS: URL 2 ") as raised,
    ):
        check_channels(parse_channels(f"json://127.0.0.1/x, {url}"))
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)
    output = capfd.readouterr()
    assert SECRET not in f"{raised.value} {log.getvalue()} {output.out} {output.err}"


def test_sends_text_and_facts_to_a_webhook(webhook: Webhook) -> None:
    assert problems(webhook.apprise_url) == [""]
    (posted,) = webhook.received
    assert webhook.paths == [f"/hook/{SECRET}"]
    assert posted["text"] == MESSAGE.text
    assert (posted["job"], posted["run_id"], posted["failed_steps"]) == (
        "batch",
        "1",
        ["staging", "raw"],
    )
    assert posted["title"] == f"[diabetes_platform] {MESSAGE.text}"
    assert posted["message"].startswith(MESSAGE.text)
    assert posted["type"] == "failure"


def test_the_body_lists_the_facts_that_have_a_value() -> None:
    facts = {"job": "batch", "failed_steps": ("a", "b"), "checks": (), "reasons": {"age:x": 3}}
    assert Alert("text", facts).body == (
        "text\n\njob: batch\nfailed_steps: a, b\nreasons: age:x (3)"
    )


def test_sends_mail_to_every_recipient(mail_server: MailServer) -> None:
    assert problems(f"mailto://{HOST}:{mail_server.port}?{RECIPIENTS}") == [""]
    assert mail_server.recipients == ["doctor@clinic.example", "nurse@clinic.example"]
    message = mail_server.received[0]
    assert message["Subject"].startswith("[diabetes_platform] batch failed at staging/patients")
    assert message["To"] == "doctor@clinic.example"
    assert message["From"] == "platform@clinic.example"
    assert MESSAGE.text in message.get_content()
    assert "run_id: 1" in message.get_content()


def test_a_line_break_in_a_text_adds_no_header(mail_server: MailServer) -> None:
    message = Alert("broken\nBcc: all@clinic.example", {})
    send(parse_channels(f"mailto://{HOST}:{mail_server.port}?{RECIPIENTS}"), message)
    assert mail_server.received[0]["Bcc"] is None
    assert mail_server.recipients == ["doctor@clinic.example", "nurse@clinic.example"]


def test_a_retry_sends_no_mail_twice(mail_server: MailServer) -> None:
    mail_server.answers.append("451 later")
    assert problems(f"mailto://{HOST}:{mail_server.port}?{RECIPIENTS}") == [""]
    assert sorted(mail_server.recipients) == ["doctor@clinic.example", "nurse@clinic.example"]


def test_encrypts_mail_and_the_login(
    tls_mail_server: MailServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    port = tls_mail_server.port
    url = f"mailtos://doctor:T0%40SECRET@{HOST}:{port}?smtp={HOST}&{RECIPIENTS}"
    assert problems(url) == [""]
    assert tls_mail_server.passwords == [b"T0@SECRET"]
    assert tls_mail_server.received[0]["From"] == "platform@clinic.example"


def test_does_not_trust_an_unknown_certificate(tls_mail_server: MailServer) -> None:
    url = f"mailtos://doctor:{SECRET}@{HOST}:{tls_mail_server.port}?{RECIPIENTS}&smtp={HOST}"
    assert problems(url) == ["the TLS certificate is not trusted"]
    assert (tls_mail_server.passwords, tls_mail_server.received) == ([], [])


def test_sends_no_password_to_a_server_without_encryption(mail_server: MailServer) -> None:
    url = f"mailtos://doctor:{SECRET}@{HOST}:{mail_server.port}?{RECIPIENTS}&smtp={HOST}"
    assert problems(url) == ["the server offers no encryption"]
    assert mail_server.received == []


def test_reports_a_mail_server_that_refuses_the_mail(mail_server: MailServer) -> None:
    mail_server.answers += ["554 no"] * 6
    assert problems(f"mailto://{HOST}:{mail_server.port}?{RECIPIENTS}") == ["status 554"]


@pytest.mark.parametrize("statuses", [[503], [429, 500]])
def test_retries_a_webhook_that_recovers(webhook: Webhook, statuses: list[int]) -> None:
    webhook.statuses += statuses
    expected = len(statuses) + 1
    assert problems(webhook.apprise_url) == [""]
    assert len(webhook.received) == expected


@pytest.mark.parametrize("status", [404, 302])
def test_reports_the_status_of_a_webhook_that_refuses(webhook: Webhook, status: int) -> None:
    webhook.statuses += [status] * 3
    assert problems(webhook.apprise_url) == [f"status {status}"]
    assert len(webhook.received) == 3


def test_one_failed_channel_does_not_affect_the_others(
    webhook: Webhook, capfd: pytest.CaptureFixture[str]
) -> None:
    with recorded_root_log() as log:
        unused = f"json://{HOST}:{free_port()}/{SECRET}"
        assert problems(f"{unused}?optional=yes, {webhook.apprise_url}") == [
            "the connection failed",
            "",
        ]
    output = capfd.readouterr()
    assert SECRET not in log.getvalue() + output.out + output.err


def test_an_invalid_url_does_not_affect_the_other_channels(webhook: Webhook) -> None:
    invalid, sent = problems(f"slak://{SECRET}/x, {webhook.apprise_url}")
    assert (invalid, sent) == (
        "is not a valid Apprise URL: see https://appriseit.com/services",
        "",
    )
    assert len(webhook.received) == 1


def test_gives_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_channels, "DEADLINE_SECONDS", 0.5)
    # It listens and never answers.
    with socket.create_server((HOST, 0)) as server:
        started = time.monotonic()
        url = f"json://{HOST}:{server.getsockname()[1]}/x?rto=5"
        assert problems(url) == ["no answer within 0.5 s"]
        assert time.monotonic() - started < 4


def test_sends_nothing_without_channels() -> None:
    assert send([], MESSAGE) == {}
