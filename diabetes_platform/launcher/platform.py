"""The platform's state on this machine: who runs it, its PostgreSQL, its connection URLs."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diabetes_platform.launcher.environment import (
    DAGSTER_POSTGRES_URL,
    WAREHOUSE_URL,
    child_environment,
    enter,
)
from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.layout import Layout
from diabetes_platform.launcher.postgres import Postgres, running_server
from diabetes_platform.launcher.secrets import load_or_create
from diabetes_platform.launcher.services import POSTGRES_PORT
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, inherited_environment

WAREHOUSE_DATABASE = "diabetes"
DAGSTER_DATABASE = "dagster"


@dataclass(frozen=True)
class Platform:
    """One home: its settings, and what follows from them. Making it touches no file."""

    settings: PlatformSettings

    @cached_property
    def layout(self) -> Layout:
        """Where its files lie."""
        return Layout.of(self.settings)

    @cached_property
    def postgres(self) -> Postgres:
        """Its PostgreSQL, started or not; the password is made where there is none yet."""
        given = self.settings.warehouse_password
        return Postgres(
            self.layout.postgres,
            self.settings.port(POSTGRES_PORT),
            given.get_secret_value()
            if given is not None
            else load_or_create(self.layout.secrets).postgres_password,
            log=self.layout.log("postgres"),
        )

    @property
    def warehouse_url(self) -> str:
        """The warehouse: a managed one where the settings name it, else the platform's own."""
        given = self.settings.warehouse_url
        return self.postgres.url(WAREHOUSE_DATABASE) if given is None else given.get_secret_value()

    @property
    def dagster_url(self) -> str:
        """The database that holds Dagster's runs and events."""
        return self.postgres.url(DAGSTER_DATABASE)

    @cached_property
    def public_environment(self) -> dict[str, str]:
        """The environment of services that need no password."""
        return child_environment(self.settings, inherited=inherited_environment())

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of Dagster's processes, with the URLs of both databases."""
        secrets = {WAREHOUSE_URL: self.warehouse_url, DAGSTER_POSTGRES_URL: self.dagster_url}
        return child_environment(self.settings, secrets, inherited=inherited_environment())

    def enter(self) -> None:
        """Make this process one of the platform's: its environment and Dagster's home."""
        for directory in (self.layout.dagster, self.layout.temporary):
            directory.mkdir(parents=True, exist_ok=True)
        _link(self.layout.dagster / "dagster.yaml", PROJECT_ROOT / "dagster.yaml")
        enter(self.environment)

    def prepare_databases(self) -> None:
        """Create the databases where they are missing and bring the warehouse up to date."""
        from diabetes_platform.warehouse.migrate import upgrade

        self.postgres.create_database(WAREHOUSE_DATABASE)
        self.postgres.create_database(DAGSTER_DATABASE, durable=False)
        upgrade(self.warehouse_url)


@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the home's lock; raises LauncherError where another launcher holds it.

    The kernel drops the lock with the process, however it ends.
    """
    path = layout.running_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LauncherError(
                f"the platform already runs in {layout.home} (pid {file.read().strip()}): stop it "
                "first, or give this one a PLATFORM_HOME and a PLATFORM_PORT_OFFSET of its own"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        shutil.rmtree(layout.temporary, ignore_errors=True)
        yield


@contextmanager
def running_platform(settings: PlatformSettings) -> Iterator[Platform]:
    """Yield a platform whose databases answer: the running one, or started for this block only."""
    platform = Platform(settings)
    platform.enter()
    if running_server(platform.layout.postgres) is not None:
        yield platform
        return
    with exclusive(platform.layout), platform.postgres:
        platform.enter()
        platform.prepare_databases()
        yield platform


def is_running(layout: Layout) -> bool:
    """Whether a launcher holds this home's lock."""
    return layout.running_lock.exists() and _is_locked(layout.running_lock)


def _link(link: Path, target: Path) -> None:
    """Make `link` point at `target`, with no moment at which there is none."""
    new = link.with_name(f"{link.name}.{os.getpid()}")
    new.symlink_to(target)
    new.replace(link)


def _is_locked(path: Path) -> bool:
    with path.open(encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
