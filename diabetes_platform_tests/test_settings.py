"""Validation of the settings; errors show no secret."""

import pytest
from pydantic import ValidationError

from diabetes_platform.contract.s3 import S3
from diabetes_platform.settings import PlatformSettings

SECRET = "T0SECRET"


@pytest.mark.parametrize(
    ("setting", "url", "apprise_url"),
    [
        ("urls", "slack://T0SECRET/b/c", "slack://T0SECRET/b/c"),
        ("webhook_url", "https://hooks.example/T0SECRET", "jsons://hooks.example/T0SECRET"),
        ("webhook_url", "http://127.0.0.1:9/T0SECRET?a=1", "json://127.0.0.1:9/T0SECRET?-a=1"),
        (
            "mail_url",
            "smtps://doctor:T0SECRET@mail.example?to=a@b.example",
            (
                "mailtos://doctor:T0SECRET@mail.example:465?to=a%40b.example"
                "&from=a%40b.example&smtp=mail.example&mode=ssl"
            ),
        ),
        (
            "mail_url",
            "smtp://doctor:T0SECRET@mail.example:587?to=a@b.example&from=x@y.example",
            (
                "mailtos://doctor:T0SECRET@mail.example:587?to=a%40b.example"
                "&from=x%40y.example&smtp=mail.example&mode=starttls"
            ),
        ),
    ],
)
def test_an_alert_url_is_a_channel_and_a_secret(setting: str, url: str, apprise_url: str) -> None:
    settings = PlatformSettings.model_validate({f"alert_{setting}": url})
    (channel,) = settings.alert_channels
    assert channel.url.get_secret_value() == apprise_url
    assert SECRET not in f"{channel} {settings!r} {settings} {settings.model_dump_json()}"


def test_has_the_channels_of_all_alert_settings() -> None:
    settings = PlatformSettings.model_validate(
        {
            "alert_urls": "slack://a/b/c, discord://d/e",
            "alert_webhook_url": "https://hooks.example/x",
            "alert_mail_url": "smtps://mail.example?to=a@b.example",
        }
    )
    assert [channel.name for channel in settings.alert_channels] == [
        "PLATFORM_ALERT_URLS: URL 1 (slack://)",
        "PLATFORM_ALERT_URLS: URL 2 (discord://)",
        "PLATFORM_ALERT_WEBHOOK_URL",
        "PLATFORM_ALERT_MAIL_URL",
    ]
    assert PlatformSettings().alert_channels == ()


URLS = ("alert_urls", "not of the form scheme://…; allowed: Apprise URLs")
WEBHOOK = ("alert_webhook_url", "allowed: a URL of http or https")
MAIL = ("alert_mail_url", "allowed: smtp[s]://user:password@host[:port]?to=name@host,…")


@pytest.mark.parametrize(
    ("setting", "message", "url"),
    [
        (*URLS, "hooks.example/T0SECRET"),
        (*URLS, "json://host/T0SECRET T0SECRET"),
        (*WEBHOOK, "ftp://hooks.example/T0SECRET"),
        (*WEBHOOK, "hooks.example/T0SECRET"),
        (*WEBHOOK, "//T0SECRET"),
        (*MAIL, "smtp://doctor:T0SECRET@mail.example"),
        (*MAIL, "smtp://doctor:T0SECRET@mail.example?to=nobody"),
        (*MAIL, "http://T0SECRET@mail.example?to=doctor@clinic.example"),
        (*MAIL, "smtp://doctor:T0SECRET@mail.example:port?to=doctor@clinic.example"),
        (*MAIL, "smtp://?to=doctor@clinic.example"),
        ("alert_mail_url", "mailtos://host:port", "smtp://mail.example?to=a@b.example"),
    ],
)
def test_the_error_of_an_alert_url_names_the_setting_and_not_the_url(
    setting: str, message: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PLATFORM_{setting.upper()}", url)
    with pytest.raises(ValidationError, match=setting) as raised:
        PlatformSettings()
    assert message in str(raised.value)
    # The command line shows the input.
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
