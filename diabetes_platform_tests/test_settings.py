"""What the settings allow, and what their errors keep to themselves."""

import pytest
from pydantic import ValidationError

from diabetes_platform.contract.s3 import S3
from diabetes_platform.settings import PlatformSettings

SECRET = "T0SECRET"


@pytest.mark.parametrize("url", ["https://hooks.example/T0SECRET", "http://127.0.0.1:9/T0SECRET"])
def test_a_webhook_is_a_secret(url: str) -> None:
    settings = PlatformSettings.model_validate({"alert_webhook_url": url})
    assert settings.alert_webhook_url is not None
    assert settings.alert_webhook_url.get_secret_value() == url
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


WEBHOOK = ("alert_webhook_url", "allowed is a URL of http or https")
MAIL = ("alert_mail_url", "allowed is smtp[s]://[user:password@]host[:port]?to=name@host,…")


@pytest.mark.parametrize(
    ("setting", "allowed", "url"),
    [
        (*WEBHOOK, "ftp://hooks.example/T0SECRET"),
        (*WEBHOOK, "hooks.example/T0SECRET"),
        (*WEBHOOK, "//T0SECRET"),
        (*MAIL, "smtp://doctor:T0SECRET@mail.example"),
        (*MAIL, "smtp://doctor:T0SECRET@mail.example?to=nobody"),
        (*MAIL, "http://T0SECRET@mail.example?to=doctor@clinic.example"),
        (*MAIL, "smtp://doctor:T0SECRET@mail.example:port?to=doctor@clinic.example"),
        (*MAIL, "smtp://?to=doctor@clinic.example"),
    ],
)
def test_the_error_of_a_secret_url_names_the_setting_and_not_the_url(
    setting: str, allowed: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PLATFORM_{setting.upper()}", url)
    with pytest.raises(ValidationError, match=setting) as raised:
        PlatformSettings()
    assert allowed in str(raised.value)
    # The command line shows what was given.
    assert SECRET not in f"{raised.value} {raised.value.errors()}"


@pytest.mark.parametrize("cron", ["daily", "0 3 * *", "0 3 * * * *", "0  3 * * *", "@daily", ""])
def test_a_schedule_has_the_five_fields_of_crontab(cron: str) -> None:
    with pytest.raises(ValidationError, match="batch_schedule"):
        PlatformSettings(batch_schedule=cron)


def test_s3_is_reached_by_the_standard_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pipeline")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    settings = PlatformSettings()
    assert settings.s3 == S3("http://127.0.0.1:9000", "pipeline", SECRET, "eu-central-1")
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()} {settings.s3!r}"
