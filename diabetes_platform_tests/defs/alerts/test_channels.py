"""Mail of an alert: what it says, and what becomes of a server that does not take it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from diabetes_platform.defs.alerts import channels
from diabetes_platform.defs.alerts.alerts import AlertError, send_alert
from diabetes_platform.defs.alerts.channels import Delivery, mail
from diabetes_platform.local.ports import free_port
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.defs.alerts.mail_servers import MailServer, running_mail_server
from diabetes_platform_tests.defs.alerts.test_alerts import ALERT, lines

SECRET = "T0SECRET"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    monkeypatch.setattr(channels, "_PAUSES", (0.0, 0.0))
    with running_mail_server() as running:
        yield running


def settings_of(home: Path, port: int, who: str = "") -> PlatformSettings:
    url = f"smtp://{who}127.0.0.1:{port}?to=doctor@clinic.example,nurse@clinic.example"
    return PlatformSettings.model_validate({"home": home, "alert_mail_url": url})


def test_a_mail_says_all_that_the_alert_knows(tmp_path: Path, server: MailServer) -> None:
    assert mail(settings_of(tmp_path, server.port), ALERT) == Delivery(delivered=True)
    (message,) = server.received
    assert message["Subject"].startswith("[diabetes_platform] batch failed at staging/patients")
    assert message["To"] == "doctor@clinic.example, nurse@clinic.example"
    assert message["From"] == "doctor@clinic.example"
    text = message.get_content()
    assert ALERT.text in text
    assert "run_url: http://127.0.0.1:3000/runs/1" in text


def test_a_line_break_in_an_alert_is_no_header(tmp_path: Path, server: MailServer) -> None:
    alert = replace(ALERT, message="broken\nBcc: all@clinic.example")
    assert mail(settings_of(tmp_path, server.port), alert).delivered
    assert server.received[0]["Bcc"] is None


def test_a_server_that_recovers_gets_the_mail(tmp_path: Path, server: MailServer) -> None:
    server.answers.append("451 later")
    settings = settings_of(tmp_path, server.port)
    assert send_alert(ALERT, settings)
    assert [(each["delivered"], each["mailed"]) for each in lines(settings)] == [(None, True)]
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("answers", "who", "problem"),
    [
        (["554 no"] * 2, "", "mail: status 554"),
        (None, "", "mail: ConnectionRefusedError"),
        ([], f"doctor:{SECRET}@", "mail: offers no encryption, and a password is not sent without"),
    ],
)
def test_a_mail_that_is_not_taken_stays_in_the_file_and_the_secret_is_not_told(
    tmp_path: Path, server: MailServer, answers: list[str] | None, who: str, problem: str
) -> None:
    server.answers += answers or []
    settings = settings_of(tmp_path, server.port if answers is not None else free_port(), who)
    with pytest.raises(AlertError) as raised:
        send_alert(ALERT, settings)
    assert str(raised.value) == f"alert of run 1 failed: {problem}"
    assert [each["mailed"] for each in lines(settings)] == [False]
    assert server.received == []
