"""Following a run while the database is down; `integration/` follows whole runs."""

import logging
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import create_engine

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster import submit
from diabetes_platform.local.dagster.batch import Follower
from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform_tests.conftest import FAST

RUN = dg.DagsterRun(job_name="batch")
CLIENT = DagsterClient("http://127.0.0.1:3000")


@dg.job(executor_def=dg.in_process_executor)
def empty_job() -> None: ...


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Restore the filters of the root logger."""
    original = list(logging.getLogger().filters)
    yield
    logging.getLogger().filters[:] = original


@pytest.fixture
def server(tmp_path: Path) -> Postgres:
    """A server that the test starts and stops itself."""
    password = secrets.token_urlsafe(24)
    return Postgres(
        tmp_path / "data", free_port(), password, settings=FAST, generated_password=True
    )


def event_log(directory: Path, url: str) -> dg.DagsterInstance:
    directory.mkdir()
    config = f"storage:\n  postgres:\n    postgres_url: {url}\ntelemetry:\n  enabled: false\n"
    (directory / "dagster.yaml").write_text(config)
    return dg.DagsterInstance.from_config(str(directory))


@pytest.mark.slow
@pytest.mark.integration
def test_waits_for_a_restart_of_the_database_and_reports_it_once(
    server: Postgres, tmp_path: Path
) -> None:
    messages: list[str] = []
    with server:
        instance = event_log(tmp_path / "home", server.create_database("events"))
        run_id = empty_job.execute_in_process(instance=instance).run_id
    down = threading.Event()

    def on_wait(message: str) -> None:
        messages.append(message)
        down.set()

    runs = submit._Runs(CLIENT, instance, on_wait)
    results: list[dg.DagsterRun] = []
    following = threading.Thread(target=lambda: results.append(runs.get(run_id)))
    following.start()
    assert down.wait(60)
    with server:
        following.join(60)
        instance.dispose()

    assert [run.status for run in results] == [dg.DagsterRunStatus.SUCCESS]
    (message,) = messages
    assert message.startswith("Dagster's database does not answer (")


def test_fails_in_one_line_if_the_database_stays_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submit, "_DATABASE_SECONDS", 0.0)
    engine = create_engine(f"postgresql://ada@{HOST}:{free_port()}/events")
    with dg.instance_for_test() as instance:
        runs = submit._Runs(CLIENT, instance, lambda _: None)
        with pytest.raises(PlatformError, match="database does not answer") as raised:
            runs._retry(engine.connect)
    assert "\n" not in str(raised.value)


def test_names_a_deleted_run() -> None:
    with dg.instance_for_test() as instance:
        run_id = "1f3c8f6e-3d0e-4b52-a0f3-0d1f6f6c2f11"
        with pytest.raises(PlatformError, match=f"run {run_id} was deleted"):
            submit._Runs(CLIENT, instance, lambda _: None).get(run_id)


def test_suppresses_only_dagsters_warnings_of_retries(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with dg.instance_for_test() as instance:
        submit._Runs(CLIENT, instance, lambda _: None)
    logging.getLogger().warning("Retrying failed database connection: %s", "refused")
    logging.getLogger().warning("another warning")
    assert [record.getMessage() for record in caplog.records] == ["another warning"]


@pytest.mark.parametrize(
    ("status", "run_error", "failures"),
    [
        (dg.DagsterRunStatus.SUCCESS, None, []),
        (dg.DagsterRunStatus.CANCELED, None, ["the run was canceled"]),
        (dg.DagsterRunStatus.FAILURE, "its process is gone", ["its process is gone"]),
    ],
)
def test_the_outcome_has_failures_unless_the_run_succeeded(
    status: dg.DagsterRunStatus, run_error: str | None, failures: list[str]
) -> None:
    follower = Follower(lambda _: None, lambda _: None)
    follower.run_error = run_error
    assert submit._failures(RUN.with_status(status), follower) == failures
