"""The API's settings, read from the environment; no other module of `serving.app` reads it."""

from functools import cached_property
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from diabetes_platform.contract.s3 import LOCATION_PATTERN, S3

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class ServingSettings(BaseSettings):
    """The settings of the API; each is `PLATFORM_<NAME>`.

    `home`, `models_url`, `data_docs_url`, `port_offset` and `dagster_url` mean the same as for the
    platform. Without
    `database_url` the API predicts but stores no patients. Several workers share their metrics in
    `PROMETHEUS_MULTIPROC_DIR`, which `python -m serving.app` sets for them. S3 credentials come
    from the standard `AWS_<NAME>`. Raises pydantic.ValidationError, which names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="PLATFORM_",
        frozen=True,
        extra="ignore",
        protected_namespaces=(),
        # An invalid URL may still contain a password.
        hide_input_in_errors=True,
    )

    home: Path = PROJECT_ROOT / ".platform"
    port_offset: int = Field(default=0, ge=0, le=20000)
    models_url: str | None = None
    data_docs_url: str | None = Field(default=None, pattern=LOCATION_PATTERN)
    dagster_url: str | None = None
    api_host: str = "127.0.0.1"
    api_port: int | None = Field(default=None, ge=1, le=65535)
    api_workers: int = Field(default=1, ge=1, le=256)
    api_max_body_bytes: int = Field(default=1_048_576, ge=1024)
    api_max_streams: int = Field(default=1000, ge=1, le=100_000)
    api_heartbeat_seconds: float = Field(default=15.0, gt=0, le=3600)
    database_url: SecretStr | None = None
    database_connections: int = Field(default=8, ge=1, le=100)
    prometheus_multiproc_dir: Path | None = Field(
        default=None, validation_alias="PROMETHEUS_MULTIPROC_DIR"
    )
    model_poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    s3_endpoint: str | None = Field(default=None, validation_alias="AWS_ENDPOINT_URL")
    s3_user: str | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    s3_secret: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    s3_region: str | None = Field(default=None, validation_alias="AWS_REGION")

    @field_validator("database_url")
    @classmethod
    def _is_a_connection_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                conninfo_to_dict(url.get_secret_value())
            except ProgrammingError:
                # libpq's own text may repeat the password.
                raise ValueError("allowed: postgresql://user:password@host:port/name") from None
        return url

    @cached_property
    def port(self) -> int:
        """The port to listen on."""
        return self.api_port or 4001 + self.port_offset

    @cached_property
    def models(self) -> str:
        """The root of the model store: a directory or an S3 URL."""
        return self.models_url or str(self.home.absolute() / "models")

    @cached_property
    def s3(self) -> S3:
        """The connection to the model store and the Data Docs on S3."""
        secret = self.s3_secret.get_secret_value() if self.s3_secret else None
        return S3(self.s3_endpoint, self.s3_user, secret, self.s3_region)

    @cached_property
    def data_docs(self) -> str:
        """What is served at `/data-docs/`: a directory, which may not exist yet, or an S3 URL."""
        return self.data_docs_url or str(self.home.absolute() / "data_docs")

    @cached_property
    def dagster(self) -> str:
        """The Dagster UI's base URL as a browser on this machine reaches it."""
        return self.dagster_url or f"http://127.0.0.1:{3000 + self.port_offset}"
