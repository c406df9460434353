"""The platform's state on this machine: its PostgreSQL, who joins it, its connection URLs."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diabetes_platform.local.dagster.home import configure_demo
from diabetes_platform.local.environment import (
    DAGSTER_POSTGRES_URL,
    WAREHOUSE_URL,
    child_environment,
    enter,
)
from diabetes_platform.local.home import Layout
from diabetes_platform.local.locks import BusyError, Use, exclusive, make_private
from diabetes_platform.local.postgres.connection import DAGSTER_DATABASE, WAREHOUSE_DATABASE
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.local.secrets import POSTGRES, load_or_create
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment


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
            self.settings.port(Port.POSTGRES),
            given.get_secret_value()
            if given is not None
            else load_or_create(self.layout.secrets)[POSTGRES],
            log=self.layout.log("postgres"),
            generated_password=given is None,
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
        # Patient data is for the owner only, whatever this process and its children write.
        os.umask(0o077)
        for directory in (self.layout.home, self.layout.dagster, self.layout.temporary):
            make_private(directory)
        for directory in self.layout.data:
            if directory.exists():
                directory.chmod(0o700)
        configure_demo(self.layout.dagster)
        enter(self.environment)

    def prepare_databases(self) -> None:
        """Create the databases where they are missing and bring the warehouse up to date."""
        from diabetes_platform.warehouse.migrate import upgrade

        self.postgres.create_database(WAREHOUSE_DATABASE)
        self.postgres.create_database(DAGSTER_DATABASE, durable=False)
        upgrade(self.warehouse_url)


@contextmanager
def running_platform(settings: PlatformSettings) -> Iterator[Platform]:
    """Yield a platform whose databases answer: the demo's, or started for this block only.

    Raises BusyError where another command has started PostgreSQL for itself: it would stop it
    in the midst of this one's work.
    """
    platform = Platform(settings)
    with ExitStack() as stack:
        if _joins(stack, platform):
            platform.enter()
        else:
            platform.enter()
            stack.enter_context(platform.postgres)
            platform.prepare_databases()
        yield platform


def _joins(stack: ExitStack, platform: Platform) -> bool:
    """Whether there is a demo to join; otherwise `stack` holds the home from now on."""
    try:
        stack.enter_context(exclusive(platform.layout))
    except BusyError as busy:
        if busy.holder.use != Use.SHARED:
            raise
        return True
    return False


def link(path: Path, target: Path) -> None:
    """Make `path` point at `target`, with no moment at which there is nothing."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.symlink_to(target)
    new.replace(path)
