"""Dagster's storage: the instances of a process share the connections that it keeps."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml

from diabetes_platform import dagster_storage
from diabetes_platform.dagster_storage import POOL_SIZE
from diabetes_platform.local.dagster.instance_config import INSTANCE_FILE
from diabetes_platform_tests.stored_job import MESSAGE, stored

pytestmark = pytest.mark.integration


@pytest.fixture
def dagster_home(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A DAGSTER_HOME with the platform's storage in a database of its own."""
    storage = yaml.safe_load(INSTANCE_FILE.read_text(encoding="utf-8"))["storage"]
    config = {"storage": storage, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", database_url)
    monkeypatch.setattr(dagster_storage, "_engines", {})
    yield tmp_path
    for engine in dagster_storage._engines.values():
        engine.dispose()


@contextmanager
def instance_at(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def connections(url: str) -> set[int]:
    """The processes of the server that serve this database, but for the one that is asked."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in rows}


def test_a_run_and_the_next_instance_use_one_connection(
    dagster_home: Path, database_url: str
) -> None:
    with instance_at(dagster_home) as instance:
        result = stored.execute_in_process(instance=instance)
        first = connections(database_url)
    with instance_at(dagster_home) as another:
        assert another.get_run_by_id(result.run_id) is not None
        assert any(MESSAGE in log.user_message for log in another.all_logs(result.run_id))
        assert another.all_instigator_state() == []
    assert len(first) == 1
    assert connections(database_url) == first


def test_threads_that_ask_at_once_all_get_an_answer_and_few_connections_stay(
    dagster_home: Path, database_url: str
) -> None:
    with instance_at(dagster_home) as instance, ThreadPoolExecutor(20) as threads:
        assert [*threads.map(lambda _: instance.get_runs_count(), range(200))] == [0] * 200
        assert len(connections(database_url)) <= POOL_SIZE


def test_a_server_that_was_restarted_costs_no_error(dagster_home: Path, database_url: str) -> None:
    with instance_at(dagster_home) as instance:
        result = stored.execute_in_process(instance=instance)
        kept = connections(database_url)
        with psycopg.connect(database_url, autocommit=True) as connection:
            for pid in kept:
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        assert instance.get_run_by_id(result.run_id) is not None
        assert stored.execute_in_process(instance=instance).success
