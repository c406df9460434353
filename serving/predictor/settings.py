"""The predictor's settings: the only reader of its environment."""

from functools import cached_property

from pydantic import Field, SecretStr

from serving.app.settings import ServingSettings


class PredictorSettings(ServingSettings):
    """Where the predictor finds stream, database and models; each is `PLATFORM_<NAME>`.

    What the API has too means the same here. `database_url` must be given. A batch has at most
    `predictor_batch` messages: more wait less for each other, fewer answer the first one sooner.
    Raises pydantic.ValidationError that names the variable.
    """

    database_url: SecretStr
    predictor_port: int | None = Field(default=None, ge=1, le=65535)
    predictor_batch: int = Field(default=500, ge=1, le=10_000)
    kafka_servers: str | None = Field(default=None, pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")

    @cached_property
    def port(self) -> int:
        """The port of metrics and health."""
        return self.predictor_port or 4002 + self.port_offset

    @cached_property
    def bootstrap_servers(self) -> str:
        """The brokers to ask first."""
        return self.kafka_servers or f"127.0.0.1:{9092 + self.port_offset}"
