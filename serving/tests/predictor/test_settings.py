"""The predictor's settings: required variables, and defaults that follow the port offset."""

import pytest
from pydantic import ValidationError

from serving.predictor.settings import PredictorSettings

URL = "postgresql://predictor:T0P@127.0.0.1/diabetes"


def test_ports_follow_the_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_PORT_OFFSET", "100")
    monkeypatch.setenv("PLATFORM_DATABASE_URL", URL)
    settings = PredictorSettings()
    assert (settings.port, settings.bootstrap_servers) == (4102, "127.0.0.1:9192")
    assert settings.database_url.get_secret_value() == URL
    assert "T0P" not in repr(settings)


def test_a_missing_database_url_is_named() -> None:
    with pytest.raises(ValidationError, match="database_url\n  Field required"):
        PredictorSettings()


@pytest.mark.parametrize("servers", ["kafka", "kafka:x", "a:1, b:2", "http://kafka:9092"])
def test_rejects_brokers_without_host_and_port(servers: str) -> None:
    with pytest.raises(ValidationError, match="kafka_servers"):
        PredictorSettings(database_url=URL, kafka_servers=servers)


def test_accepts_several_brokers() -> None:
    settings = PredictorSettings(database_url=URL, kafka_servers="a:1,b.example:2")
    assert settings.bootstrap_servers == "a:1,b.example:2"
