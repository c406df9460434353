"""The platform's settings: the only reader of the environment outside serving/ and flink/."""

import os
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from diabetes_platform.cleaning.session import SMALL_BATCH_ROWS
from diabetes_platform.clients.alert_channels import AlertChannel, parse_channels
from diabetes_platform.contract.s3 import LOCATION_PATTERN, S3
from diabetes_platform.contract.validation import MISSING_TEXTS
from diabetes_platform.errors import PlatformError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PIMA_CSV = Path(__file__).resolve().parent / "datasets" / "pima.csv"


class Port(IntEnum):
    """Each server's port before `port_offset` moves it."""

    API = 4001
    PREDICTOR = 4002
    DAGSTER = 3000
    DAGSTER_CODE = 4266
    POSTGRES = 5433
    MINIO = 9000
    MINIO_CONSOLE = 9001
    KAFKA = 9092
    KAFKA_CONTROLLER = 9093
    CONNECT = 8083
    FLINK = 8081
    FLINK_RPC = 6123
    FLINK_BLOB = 6124
    SPARK_CONNECT = 15002
    SPARK_MASTER = 7077


def _hide(value: object) -> object:
    """Hide a secret before validation, because a validation error shows its input."""
    return SecretStr(value) if isinstance(value, str) else value


def _validate_alert_urls(urls: SecretStr) -> SecretStr:
    parse_channels(urls.get_secret_value())
    return urls


def _reject_removed(_: SecretStr) -> SecretStr:
    raise ValueError("replaced by PLATFORM_ALERT_URLS: see docs/how-to/add-an-alert-channel.md")


AlertUrls = Annotated[SecretStr, AfterValidator(_validate_alert_urls), BeforeValidator(_hide)]
"""Apprise URLs, which contain passwords and tokens."""
RemovedUrl = Annotated[SecretStr, AfterValidator(_reject_removed), BeforeValidator(_hide)]

Cron = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z*/,?#-]+( [0-9A-Za-z*/,?#-]+){4}$")]
"""The five fields of crontab: minute, hour, day of month, month, day of week."""


Server = Annotated[str, StringConstraints(pattern=r"^[^\s,:/@]+:\d+$")]
"""`host:port`."""
Servers = Annotated[str, StringConstraints(pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")]
"""Kafka's brokers: `host:port,…`."""


def _split_texts(value: object) -> object:
    """Split a list that is separated by commas; the texts are compared in lower case."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, Iterable):
        return value
    return frozenset(str(text).strip(" ").lower() for text in texts) - {""}


Texts = Annotated[frozenset[str], NoDecode, BeforeValidator(_split_texts)]
Share = Annotated[float, Field(ge=0, le=1)]


class PlatformSettings(BaseSettings):
    """The locations of the platform's data and services, read from `PLATFORM_<NAME>`.

    Paths and URLs that are not set are derived from `home` and the ports, so that a fresh checkout
    needs no setting. Raises pydantic.ValidationError that names the variable.
    """

    model_config = SettingsConfigDict(env_prefix="PLATFORM_", frozen=True, extra="ignore")

    home: Path = PROJECT_ROOT / ".platform"
    port_offset: int = Field(default=0, ge=0, le=20000)
    source: str = str(PIMA_CSV)
    batch_schedule: Cron = "0 3 * * *"
    missing_texts: Texts = MISSING_TEXTS
    rejected_rows_warn: Share = 0.05
    rejected_rows_block: Share = 0.2
    lake_url: str | None = None
    models_url: str | None = None
    data_docs_url: str | None = Field(default=None, pattern=LOCATION_PATTERN)
    warehouse_password: SecretStr | None = None
    warehouse_url: SecretStr | None = None
    reader_url: SecretStr | None = None
    spark_remote: str | None = Field(default=None, validation_alias="SPARK_REMOTE")
    spark_min_rows: int = Field(default=SMALL_BATCH_ROWS, ge=0)
    api_url: str | None = None
    dagster_url: str | None = None
    secrets: SecretStr | None = None
    postgres_server: Server | None = None
    kafka_servers: Servers | None = None
    connect_url: str | None = None
    flink_url: str | None = None
    supervisor_socket: Path | None = None
    storage_console_url: str | None = None
    alert_urls: AlertUrls | None = None
    alert_webhook_url: RemovedUrl | None = None
    alert_mail_url: RemovedUrl | None = None
    model_seed: int = 20_260_101
    retrain_labels: int = Field(default=50, ge=1)
    repair_limit: int = Field(default=10_000, ge=0)
    s3_endpoint: str | None = Field(default=None, validation_alias="AWS_ENDPOINT_URL")
    s3_user: str | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    s3_secret: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    s3_region: str | None = Field(default=None, validation_alias="AWS_REGION")

    def port(self, default: Port) -> int:
        """Return a server's port: its default moved by the offset."""
        return default + self.port_offset

    def require(self, name: str) -> str:
        """Return a text setting; raises PlatformError if it is not set."""
        value: str | None = getattr(self, name)
        if value is None:
            raise PlatformError(f"PLATFORM_{name.upper()} is not set")
        return value

    @property
    def lake(self) -> str:
        """The root of the Delta tables: a directory or an S3 URL."""
        return self.lake_url or str(self.home.absolute() / "lake")

    @property
    def models(self) -> str:
        """The root of the model store: a directory or an S3 URL."""
        return self.models_url or str(self.home.absolute() / "models")

    @property
    def s3(self) -> S3:
        """The S3 connection for the lake, the models, the Data Docs and sources."""
        secret = self.s3_secret.get_secret_value() if self.s3_secret else None
        return S3(self.s3_endpoint, self.s3_user, secret, self.s3_region)

    @property
    def data_docs(self) -> str:
        """The Data Docs, which the API serves at `/data-docs/`: a directory or an S3 URL."""
        return self.data_docs_url or str(self.home.absolute() / "data_docs")

    @property
    def alert_channels(self) -> tuple[AlertChannel, ...]:
        """The channels that alerts are sent to."""
        urls = self.alert_urls
        return () if urls is None else tuple(parse_channels(urls.get_secret_value()))

    @property
    def alerts(self) -> Path:
        """The file that keeps every alert, one JSON object per line."""
        return self.home.absolute() / "logs" / "alerts.jsonl"

    @property
    def recorded_issues(self) -> Path:
        """The file in which processes without Dagster record issues for `stream_health`."""
        return self.home.absolute() / "logs" / "recorded-issues.jsonl"

    @property
    def damaged_checkpoints(self) -> Path:
        """The file in which `stream-job` keeps the checkpoints that it no longer restores."""
        return self.home.absolute() / "logs" / "damaged-checkpoints.json"

    @property
    def api(self) -> str:
        """The API's base URL as a browser on this machine reaches it."""
        return self.api_url or f"http://127.0.0.1:{self.port(Port.API)}"

    @property
    def dagster(self) -> str:
        """The Dagster UI's base URL as a browser on this machine reaches it."""
        return self.dagster_url or f"http://127.0.0.1:{self.port(Port.DAGSTER)}"


class SetupSettings(BaseSettings):
    """Passwords for the one-shot set-up commands.

    They are read from `STORAGE_PASSWORDS__<USER>`, `ROLE_PASSWORDS__<ROLE>` and, for the superuser,
    `POSTGRES_PASSWORD`. Raises pydantic.ValidationError that names the variable.
    """

    model_config = SettingsConfigDict(env_nested_delimiter="__", frozen=True, extra="ignore")

    postgres_password: SecretStr = SecretStr("")
    role_passwords: dict[str, SecretStr] = {}
    storage_passwords: dict[str, SecretStr] = {}


def inherited_environment() -> dict[str, str]:
    """Return the caller's environment, for the processes that the launcher starts."""
    return dict(os.environ)
