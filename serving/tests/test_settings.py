"""Settings from the environment, their defaults, and errors that name the variable."""

import pytest
from pydantic import ValidationError

from diabetes_platform.contract.s3 import S3
from serving.app.settings import PROJECT_ROOT, ServingSettings


def test_every_setting_has_a_default() -> None:
    settings = ServingSettings()
    assert settings.home == PROJECT_ROOT / ".platform"
    assert settings.api_host == "127.0.0.1"
    assert settings.port == 4001
    assert settings.models == str(PROJECT_ROOT / ".platform" / "models")
    assert settings.dagster == "http://127.0.0.1:3000"


def test_the_port_offset_moves_all_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_PORT_OFFSET", "100")
    settings = ServingSettings()
    assert settings.port == 4101
    assert settings.dagster == "http://127.0.0.1:3100"


def test_variables_override_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_MODELS_URL", "s3://models")
    monkeypatch.setenv("PLATFORM_DAGSTER_URL", "http://dagster:3000")
    monkeypatch.setenv("PLATFORM_API_PORT", "9999")
    monkeypatch.setenv("PLATFORM_HOME", "/srv/platform")
    settings = ServingSettings()
    assert settings.models == "s3://models"
    assert settings.dagster == "http://dagster:3000"
    assert settings.port == 9999
    assert settings.data_docs == "/srv/platform/data_docs"


def test_s3_uses_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "api")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "T0SECRET")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    settings = ServingSettings()
    assert settings.s3 == S3("http://127.0.0.1:9000", "api", "T0SECRET", "eu-central-1")
    assert "T0SECRET" not in f"{settings!r} {settings.s3!r}"


def test_an_invalid_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_PORT_OFFSET", "-5")
    with pytest.raises(ValidationError, match="port_offset"):
        ServingSettings()


@pytest.mark.parametrize(
    "url", ["postgresql://api:T0SECRET@[", "api T0SECRET", "postgresql://h/d?T0SECRET=1"]
)
def test_the_error_of_an_invalid_database_url_has_no_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PLATFORM_DATABASE_URL", url)
    with pytest.raises(ValidationError, match="database_url") as raised:
        ServingSettings()
    assert "T0SECRET" not in str(raised.value)
