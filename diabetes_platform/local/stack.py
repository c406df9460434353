"""The platform with all its services (the stack): settings, directories, secrets, ports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.locks import HomeUse, home_holder
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.secrets import POSTGRES, Secrets, load_or_create, parse_secrets
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port
from diabetes_platform.warehouse.roles import ROLES

STORAGE_USERS = ("pipeline", "spark", "api", "predictor", "flink")
"""The S3 users besides the root user."""
STORAGE_ROOT = "storage_root_password"
INFRA = PROJECT_ROOT / "infra"


def role_secret(role: str) -> str:
    """Return the name of the secret with the password of a database role."""
    return f"postgres_{role}_password"


def storage_secret(user: str) -> str:
    """Return the name of the secret with the password of an S3 user."""
    return f"storage_{user}_password"


@dataclass(frozen=True)
class Stack:
    """The platform below `base_settings.home`; creating the object touches no file."""

    base_settings: PlatformSettings
    spark: SparkMode = SparkMode.SERVER
    addresses: Mapping[Port, str] = field(default_factory=dict)
    """Servers that are not on this machine: `host:port`, or the URL of an HTTP server."""

    @property
    def home(self) -> HomeLayout:
        """The home that the demo and the stack share: only one of them runs at a time."""
        return HomeLayout.of(self.base_settings)

    @cached_property
    def settings(self) -> PlatformSettings:
        """The settings of the processes: data below `stack`, storage on S3, a Spark server."""
        base = self.base_settings
        return base.model_copy(
            update={
                "home": self.home.home / "stack",
                "lake_url": base.lake_url or "s3://lake",
                "models_url": base.models_url or "s3://models",
                "data_docs_url": base.data_docs_url or "s3://data-docs",
                "spark_remote": base.spark_remote or f"sc://{self.address(Port.SPARK_CONNECT)}",
            }
        )

    @property
    def layout(self) -> HomeLayout:
        """The layout of its own files, which are separate from the demo's."""
        return HomeLayout.of(self.settings)

    @cached_property
    def secrets(self) -> Secrets:
        """The passwords in PLATFORM_SECRETS or in the home; missing ones are generated there."""
        if self.base_settings.secrets is not None:
            return parse_secrets(self.base_settings.secrets.get_secret_value(), "PLATFORM_SECRETS")
        names = [POSTGRES, STORAGE_ROOT]
        names += [role_secret(role.name) for role in ROLES]
        names += [storage_secret(user) for user in STORAGE_USERS]
        return load_or_create(self.layout.secrets, names)

    @property
    def environments(self) -> Path:
        """The directory of the private variables of each process."""
        return self.layout.home / "run" / "env"

    def port(self, port: Port) -> int:
        """Return the port of a server."""
        return self.base_settings.port(port)

    @property
    def is_local(self) -> bool:
        """Whether the servers are processes on this machine."""
        return not self.addresses

    def address(self, port: Port) -> str:
        """Return the address of a server as the other servers reach it: `host:port`."""
        return self.addresses.get(port, f"{HOST}:{self.port(port)}")

    def url(self, port: Port) -> str:
        """Return the base URL of an HTTP server."""
        address = self.address(port)
        return address if "://" in address else f"http://{address}"


def running_stack(settings: PlatformSettings) -> Stack | None:
    """Return the platform if it runs in this home, or None."""
    current = home_holder(HomeLayout.of(settings))
    return Stack(settings) if current is not None and current.use == HomeUse.STACK else None


def require_running_stack(settings: PlatformSettings) -> Stack:
    """Return the platform that runs in this home; raises PlatformError if it does not run."""
    stack = running_stack(settings)
    if stack is None:
        raise PlatformError("the platform is not running: start it with `make up`")
    return stack
