"""Connections to a warehouse whose server accepts connections and never responds."""

import contextlib
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.warehouse import connection as module
from diabetes_platform.warehouse.connection import connected
from diabetes_platform.warehouse.intake import (
    deleted_patients,
    emit_again,
    intake_days,
    waiting_patients,
)
from diabetes_platform.warehouse.predictions import read_predictions
from diabetes_platform_tests.conftest import FAST
from diabetes_platform_tests.warehouse_process import signal_all

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    data_dir = tmp_path_factory.mktemp("stopped") / "data"
    with Postgres(data_dir, free_port(), secrets.token_urlsafe(24), settings=FAST) as server:
        yield server


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    signal_all(server, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(server, signal.SIGCONT)


def test_every_reader_of_the_intake_and_of_predictions_gives_up_on_a_stopped_server(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 2)
    url = server.url("postgres")
    with stopped(server):
        for call in (
            lambda: waiting_patients(url, timedelta(0), 1, {}),
            lambda: deleted_patients(url, 1),
            lambda: emit_again(url, [1]),
            lambda: intake_days(url, NOW, NOW, {}),
            lambda: read_predictions(url, "a", [1]),
        ):
            started = time.monotonic()
            with pytest.raises(psycopg.OperationalError):
                call()
            assert time.monotonic() - started < 10


def query_of_stopped(server: Postgres, connection: psycopg.Connection) -> None:
    connection.execute("SELECT 1")
    with stopped(server):
        connection.execute("SELECT 2")


def test_a_server_that_stops_during_a_query_ends_it(server: Postgres) -> None:
    started = time.monotonic()
    with (
        contextlib.suppress(psycopg.OperationalError),
        connected(server.url("postgres"), 2.0) as connection,
    ):
        with pytest.raises(psycopg.OperationalError):
            query_of_stopped(server, connection)
        assert connection.broken
    assert time.monotonic() - started < 10


def transaction_of_stopped(server: Postgres, stack: ExitStack) -> None:
    with connected(server.url("postgres"), 2.0) as connection:
        connection.execute("SELECT 1")
        stack.enter_context(stopped(server))


def test_a_server_that_stops_before_the_commit_ends_it(server: Postgres) -> None:
    started = time.monotonic()
    with ExitStack() as stack, pytest.raises(psycopg.OperationalError):
        transaction_of_stopped(server, stack)
    assert time.monotonic() - started < 10


def test_a_statement_that_takes_too_long_ends_on_the_server(server: Postgres) -> None:
    url = server.url("postgres")
    # The error is PostgreSQL's, or that of the connection, which ends at the same time.
    with pytest.raises(psycopg.Error), connected(url, 0.5) as connection:
        connection.execute("SELECT pg_sleep(60)")
    with psycopg.connect(url) as connection:
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        assert connection.execute(sleeping).fetchone() == (0,)
