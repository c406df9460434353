"""The demo: a home with its own PostgreSQL, which other commands can share."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diabetes_platform.local.dagster.instance_config import write_demo_config
from diabetes_platform.local.environment import (
    DAGSTER_POSTGRES_URL,
    WAREHOUSE_URL,
    child_environment,
    enter,
)
from diabetes_platform.local.home import HomeLayout, make_private
from diabetes_platform.local.locks import BusyError, HomeUse, lock_home
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.local.secrets import POSTGRES, load_or_create
from diabetes_platform.provisioning.databases import DAGSTER_DATABASE, WAREHOUSE_DATABASE
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment


@dataclass(frozen=True)
class DemoPlatform:
    """A home with its own PostgreSQL; creating the object touches no file."""

    settings: PlatformSettings

    @cached_property
    def layout(self) -> HomeLayout:
        """The layout of its files."""
        return HomeLayout.of(self.settings)

    @cached_property
    def postgres(self) -> Postgres:
        """Its PostgreSQL, not started; a password is generated if none is configured."""
        configured = self.settings.warehouse_password
        return Postgres(
            self.layout.postgres,
            self.settings.port(Port.POSTGRES),
            configured.get_secret_value()
            if configured is not None
            else load_or_create(self.layout.secrets)[POSTGRES],
            log=self.layout.log("postgres"),
            generated_password=configured is None,
        )

    @property
    def warehouse_url(self) -> str:
        """The URL of the warehouse: PLATFORM_WAREHOUSE_URL, or else that of its own PostgreSQL."""
        url = self.settings.warehouse_url
        return self.postgres.url(WAREHOUSE_DATABASE) if url is None else url.get_secret_value()

    @property
    def dagster_url(self) -> str:
        """The URL of the database with Dagster's runs and events."""
        return self.postgres.url(DAGSTER_DATABASE)

    @cached_property
    def public_environment(self) -> dict[str, str]:
        """The environment of processes that need no password."""
        return child_environment(self.settings, inherited=inherited_environment())

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of Dagster's processes, with the URLs of both databases."""
        secrets = {WAREHOUSE_URL: self.warehouse_url, DAGSTER_POSTGRES_URL: self.dagster_url}
        return child_environment(self.settings, secrets, inherited=inherited_environment())

    def enter(self) -> None:
        """Set the platform's environment in this process, and prepare Dagster's home."""
        # Only the owner may read what this process and its children write: it is patient data.
        os.umask(0o077)
        for directory in (self.layout.home, self.layout.dagster, self.layout.temporary):
            make_private(directory)
        for directory in self.layout.data:
            if directory.exists():
                directory.chmod(0o700)
        write_demo_config(self.layout.dagster)
        enter(self.environment)

    def prepare_databases(self) -> None:
        """Create missing databases and migrate the warehouse."""
        from diabetes_platform.warehouse.migrate import upgrade

        self.postgres.create_database(WAREHOUSE_DATABASE)
        self.postgres.create_database(DAGSTER_DATABASE, durable=False)
        upgrade(self.warehouse_url)


@contextmanager
def running_demo_platform(settings: PlatformSettings) -> Iterator[DemoPlatform]:
    """Yield a platform with running databases: the demo's, or databases started for this block.

    Raises BusyError if another command runs PostgreSQL for its own use, because it could stop the
    server before this command has finished.
    """
    platform = DemoPlatform(settings)
    with ExitStack() as stack:
        if _shares_demo(stack, platform):
            platform.enter()
        else:
            platform.enter()
            stack.enter_context(platform.postgres)
            platform.prepare_databases()
        yield platform


def _shares_demo(stack: ExitStack, platform: DemoPlatform) -> bool:
    """Whether a demo runs that can be shared; if nothing runs, `stack` holds the home's lock."""
    try:
        stack.enter_context(lock_home(platform.layout))
    except BusyError as busy:
        if busy.holder.use != HomeUse.SHARED:
            raise
        return True
    return False


def link(path: Path, target: Path) -> None:
    """Create or atomically replace the symbolic link `path` to `target`."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.symlink_to(target)
    new.replace(path)
