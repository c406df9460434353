"""The predictor's settings, read from the environment."""

from functools import cached_property

from pydantic import Field, SecretStr

from serving.app.settings import ServingSettings


class PredictorSettings(ServingSettings):
    """The settings of the predictor; each is `PLATFORM_<NAME>`.

    Settings of the API mean the same here; `database_url` is required. `predictor_batch` is the
    maximum number of messages in a batch: larger batches have a higher throughput, smaller ones a
    lower latency. Raises pydantic.ValidationError, which names the variable.
    """

    database_url: SecretStr
    predictor_host: str = "127.0.0.1"
    predictor_port: int | None = Field(default=None, ge=1, le=65535)
    predictor_batch: int = Field(default=500, ge=1, le=10_000)
    kafka_servers: str | None = Field(default=None, pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")

    @cached_property
    def port(self) -> int:
        """The port of `/health`, `/ready` and `/metrics`."""
        return self.predictor_port or 4002 + self.port_offset

    @cached_property
    def bootstrap_servers(self) -> str:
        """The brokers to connect to first."""
        return self.kafka_servers or f"127.0.0.1:{9092 + self.port_offset}"
