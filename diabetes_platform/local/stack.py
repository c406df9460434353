"""The whole platform of one home: settings, directories, secrets. Making it touches no file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from diabetes_platform.local.home import Layout
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.secrets import POSTGRES, Secrets, load_or_create
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port
from diabetes_platform.warehouse.roles import ROLES

STORAGE_USERS = ("pipeline", "spark", "api", "predictor", "flink")
"""Who reads or writes on S3 besides its root user."""
STORAGE_ROOT = "storage_root_password"
INFRA = PROJECT_ROOT / "infra"
COMPOSE = INFRA / "local" / "process-compose.yaml"
COMPOSE_CLUSTER = INFRA / "local" / "process-compose.spark-cluster.yaml"
SPARK = "spark-connect"
SPARK_MASTER = "spark-master"
"""Runs only where Spark is a cluster."""


def role_secret(role: str) -> str:
    """Return the name of a database role's password among the secrets."""
    return f"postgres_{role}_password"


def storage_secret(user: str) -> str:
    """Return the name of an S3 user's password among the secrets."""
    return f"storage_{user}_password"


@dataclass(frozen=True)
class Stack:
    """The whole platform below `given.home`; its data lie apart from the demo's."""

    given: PlatformSettings
    spark: SparkMode = SparkMode.SERVER

    @property
    def home(self) -> Layout:
        """The home that the demo and the whole platform share: one of them runs at a time."""
        return Layout.of(self.given)

    @cached_property
    def settings(self) -> PlatformSettings:
        """The settings of its processes: data below `stack`, storage on S3, a Spark server."""
        given = self.given
        spark = f"sc://{HOST}:{given.port(Port.SPARK_CONNECT)}"
        return given.model_copy(
            update={
                "home": self.home.home / "stack",
                "lake_url": given.lake_url or "s3://lake",
                "models_url": given.models_url or "s3://models",
                "spark_remote": given.spark_remote or spark,
            }
        )

    @property
    def layout(self) -> Layout:
        """Where its own files lie."""
        return Layout.of(self.settings)

    @cached_property
    def secrets(self) -> Secrets:
        """Its passwords, those that are missing made now."""
        names = [POSTGRES, STORAGE_ROOT]
        names += [role_secret(role.name) for role in ROLES]
        names += [storage_secret(user) for user in STORAGE_USERS]
        return load_or_create(self.layout.secrets, names)

    @property
    def environments(self) -> Path:
        """Where each process's own variables lie, secrets among them."""
        return self.layout.home / "run" / "env"

    @property
    def compose_files(self) -> tuple[Path, ...]:
        """What the supervisor reads, the later file changing the one before."""
        return (COMPOSE,) if self.spark == SparkMode.SERVER else (COMPOSE, COMPOSE_CLUSTER)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The names of all processes that there may be, in the order of the data."""
        usual, cluster = (
            yaml.safe_load(file.read_text(encoding="utf-8"))["processes"]
            for file in (COMPOSE, COMPOSE_CLUSTER)
        )
        more = [name for name in cluster if name not in usual]
        at = list(usual).index(SPARK)
        return (*list(usual)[:at], *more, *list(usual)[at:])

    def port(self, port: Port) -> int:
        """Return a server's port."""
        return self.given.port(port)

    def url(self, port: Port) -> str:
        """Return the base URL of a server that speaks HTTP."""
        return f"http://{HOST}:{self.port(port)}"
