"""Validation of the settings; errors show no secret."""

import pytest
from pydantic import ValidationError

from diabetes_platform.contract.s3 import S3
from diabetes_platform.settings import PlatformSettings

SECRET = "T0SECRET"


def test_alert_urls_are_channels_and_secrets() -> None:
    settings = PlatformSettings.model_validate(
        {"alert_urls": "slack://T0SECRET/b/c, discord://d/e"}
    )
    channels = settings.alert_channels
    assert [(channel.name, channel.url.get_secret_value()) for channel in channels] == [
        ("PLATFORM_ALERT_URLS: URL 1 (slack://)", "slack://T0SECRET/b/c"),
        ("PLATFORM_ALERT_URLS: URL 2 (discord://)", "discord://d/e"),
    ]
    assert SECRET not in f"{channels} {settings!r} {settings} {settings.model_dump_json()}"
    assert PlatformSettings().alert_channels == ()


URLS = ("alert_urls", "not of the form scheme://…; allowed: Apprise URLs")
REPLACED = "replaced by PLATFORM_ALERT_URLS"


@pytest.mark.parametrize(
    ("setting", "message", "url"),
    [
        (*URLS, "hooks.example/T0SECRET"),
        (*URLS, "json://host/T0SECRET T0SECRET"),
        ("alert_webhook_url", REPLACED, "https://hooks.example/T0SECRET"),
        ("alert_mail_url", REPLACED, "smtps://doctor:T0SECRET@mail.example?to=a@b.example"),
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


def test_the_texts_for_missing_are_a_list_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"na", "nan", "null"} <= PlatformSettings().missing_texts
    monkeypatch.setenv("PLATFORM_MISSING_TEXTS", "Fehlt, -9 ,,N/A")
    assert PlatformSettings().missing_texts == {"fehlt", "-9", "n/a"}
    monkeypatch.setenv("PLATFORM_MISSING_TEXTS", "")
    assert PlatformSettings().missing_texts == frozenset()


@pytest.mark.parametrize("share", ["-0.1", "1.5", "much"])
def test_the_shares_of_rejected_rows_are_between_0_and_1(
    share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_REJECTED_ROWS_BLOCK", share)
    with pytest.raises(ValidationError, match="rejected_rows_block"):
        PlatformSettings()


def test_s3_is_reached_by_the_standard_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pipeline")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    settings = PlatformSettings()
    assert settings.s3 == S3("http://127.0.0.1:9000", "pipeline", SECRET, "eu-central-1")
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()} {settings.s3!r}"
