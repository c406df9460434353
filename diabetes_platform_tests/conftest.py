"""Shared fixtures: the whole platform, PostgreSQL, Kafka, Connect, an empty database per test."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.local.signals import restore_sigint
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervised import supervised_processes
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.capture import Connect, Kafka, own_connect, own_kafka
from diabetes_platform_tests.commands import (
    command,
    finish,
    free_offset,
    stopped_when_killed,
)
from diabetes_platform_tests.grown_contract import migration_hint
from diabetes_platform_tests.lifetimes import Lifetimes
from diabetes_platform_tests.provisioned import CAPTURE, ProvisionedServer, provision
from diabetes_platform_tests.storage import Storage, storage_of

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""Tests do not need durable data."""
SHARED = ("stack", "kafka", "provisioned", "original")
"""Expensive fixtures; a test that requests several belongs to the group of the first."""
WAREHOUSES = frozenset({"stack", "provisioned", "original", "database_url", "postgres"})
"""Fixtures with a migrated warehouse."""
LIFETIMES = pytest.StashKey[Lifetimes]()


def pytest_configure() -> None:
    """Drop the caller's settings, and stop the services even after a start in the background."""
    for name in list(os.environ):
        # The home is where the servers are installed.
        if name.startswith("PLATFORM_") and name != "PLATFORM_HOME":
            del os.environ[name]
    restore_sigint()
    # An xdist worker has a main module without a file, which PySpark takes for a doctest.
    vars(sys.modules["__main__"]).setdefault("__file__", pytest.__file__)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign tests that share an expensive server to one worker, so that it starts once.

    While a field has no migration, tests of a warehouse are skipped: one test fails and says so.
    """
    hint = migration_hint()
    for item in items:
        names = getattr(item, "fixturenames", ())
        if hint is not None and not WAREHOUSES.isdisjoint(names):
            item.add_marker(pytest.mark.skip(reason=hint))
        shared = next((name for name in SHARED if name in names), None)
        item.add_marker(pytest.mark.xdist_group(shared or item.path.stem))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count the tests that request each shared server."""
    session.config.stash.setdefault(LIFETIMES, Lifetimes()).expect(session.items)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop a shared server after the last test that requests it."""
    item.config.stash[LIFETIMES].end(item, nextitem)


@pytest.fixture(scope="session")
def lifetimes(pytestconfig: pytest.Config) -> Lifetimes:
    """The lifetimes of the shared servers of this run."""
    return pytestconfig.stash[LIFETIMES]


@pytest.fixture(scope="session")
def stack(lifetimes: Lifetimes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole platform, started once with `diabetes up` and always stopped."""
    with lifetimes.of("stack") as shared:
        yield shared.enter_context(own_stack(tmp_path_factory.mktemp("platform")))


@contextmanager
def own_stack(home: Path) -> Iterator[Stack]:
    """Run a separate platform in `home`."""
    settings = PlatformSettings(home=home, port_offset=free_offset())
    stack = Stack(settings)
    with stopped_when_killed(settings):
        try:
            code, output = finish(command(settings, "up"), seconds=900)
            assert code == 0, output
            yield stack
        finally:
            code, output = finish(command(settings, "down"))
            assert code == 0, output
            assert supervised_processes(stack.layout.home) == []


@pytest.fixture(scope="session")
def storage(stack: Stack) -> Storage:
    """The platform's S3, with its buckets, users and policies."""
    return storage_of(stack)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running server for this test run, on a free port."""
    data_dir = tmp_path_factory.mktemp("postgres") / "data"
    password = secrets.token_urlsafe(24)
    with Postgres(
        data_dir, free_port(), password, settings=FAST, generated_password=True
    ) as server:
        yield server


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedServer]:
    """A running server with the platform's databases, roles, publication and slot."""
    data_dir = tmp_path_factory.mktemp("provisioned") / "data"
    password = secrets.token_urlsafe(24)
    with Postgres(data_dir, free_port(), password, settings=FAST | CAPTURE) as server:
        yield provision(server)


@pytest.fixture(scope="session")
def kafka(lifetimes: Lifetimes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A running broker with the platform's topics."""
    with lifetimes.of("kafka") as shared:
        yield shared.enter_context(own_kafka(tmp_path_factory.mktemp("kafka")))


@pytest.fixture(scope="session")
def connect(
    lifetimes: Lifetimes, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connect]:
    """A running Connect worker with its own warehouse, because a slot has one reader."""
    directory = tmp_path_factory.mktemp("connect")
    server = Postgres(
        directory / "postgres", free_port(), secrets.token_urlsafe(24), settings=FAST | CAPTURE
    )
    with lifetimes.of("connect") as shared:
        warehouse = provision(shared.enter_context(server))
        yield shared.enter_context(own_connect(kafka, warehouse, directory))


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database that only this test uses."""
    name = f"test_{secrets.token_hex(6)}"
    yield postgres.create_database(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(drop)
