"""The whole platform of one home: settings, directories, secrets. Making it touches no file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.locks import Use, holder
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.secrets import POSTGRES, Secrets, load_or_create
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port
from diabetes_platform.warehouse.roles import ROLES

STORAGE_USERS = ("pipeline", "spark", "api", "predictor", "flink")
"""Who reads or writes on S3 besides its root user."""
STORAGE_ROOT = "storage_root_password"
INFRA = PROJECT_ROOT / "infra"


def role_secret(role: str) -> str:
    """Return the name of a database role's password among the secrets."""
    return f"postgres_{role}_password"


def storage_secret(user: str) -> str:
    """Return the name of an S3 user's password among the secrets."""
    return f"storage_{user}_password"


@dataclass(frozen=True)
class Stack:
    """The whole platform below `base_settings.home`; its data lie apart from the demo's."""

    base_settings: PlatformSettings
    spark: SparkMode = SparkMode.SERVER

    @property
    def home(self) -> Layout:
        """The home that the demo and the whole platform share: one of them runs at a time."""
        return Layout.of(self.base_settings)

    @cached_property
    def settings(self) -> PlatformSettings:
        """The settings of its processes: data below `stack`, storage on S3, a Spark server."""
        base = self.base_settings
        spark = f"sc://{HOST}:{base.port(Port.SPARK_CONNECT)}"
        return base.model_copy(
            update={
                "home": self.home.home / "stack",
                "lake_url": base.lake_url or "s3://lake",
                "models_url": base.models_url or "s3://models",
                "spark_remote": base.spark_remote or spark,
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

    def port(self, port: Port) -> int:
        """Return a server's port."""
        return self.base_settings.port(port)

    def url(self, port: Port) -> str:
        """Return the base URL of a server that speaks HTTP."""
        return f"http://{HOST}:{self.port(port)}"


def running_stack(settings: PlatformSettings) -> Stack | None:
    """Return the platform if it runs in this home, or None."""
    current = holder(Layout.of(settings))
    return Stack(settings) if current is not None and current.use == Use.STACK else None


def require_running_stack(settings: PlatformSettings) -> Stack:
    """Return the platform that runs in this home; raises PlatformError if it does not run."""
    stack = running_stack(settings)
    if stack is None:
        raise PlatformError("the platform is not running: start it with `make up`")
    return stack
