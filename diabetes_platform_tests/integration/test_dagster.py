"""Dagster on the whole platform: queued, followed, lost, cancelled and scheduled runs."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import psutil
import pytest

from diabetes_platform.definitions import build_definitions
from diabetes_platform.defs.alerts.run_failures import describe_failure
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.batch import Follower, RunOutcome, Step
from diabetes_platform.local.dagster.client import LaunchRequest
from diabetes_platform.local.dagster.submit import batch_request
from diabetes_platform.local.dagster.submit import submit as submit_job
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PIMA_CSV
from diabetes_platform_tests.running_dagster import RunningDagster, kill
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ONLY_RAW = 'key:"raw/patients"'
_STATUS = dg.DagsterRunStatus


class SlowSource(ThreadingHTTPServer):
    """Serves the Pima data. The first response waits for `release`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pima)
        self.requested = threading.Event()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/pima.csv"


class _Pima(BaseHTTPRequestHandler):
    server: SlowSource

    def do_GET(self) -> None:
        first = not self.server.requested.is_set()
        self.server.requested.set()
        if first:
            self.server.release.wait(60)
        content = PIMA_CSV.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # The first client may have been killed in the meantime.
        if not first:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write nothing; the default writes to stderr."""


@contextmanager
def slow_source() -> Iterator[SlowSource]:
    with SlowSource() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()


def submit(
    dagster: RunningDagster,
    source: str | Path = PIMA_CSV,
    select: str | None = None,
    on_start: Callable[[Step], None] = lambda _: None,
) -> RunOutcome:
    return launch(dagster, batch_request(build_definitions, str(source), select), on_start)


def launch(
    dagster: RunningDagster,
    request: LaunchRequest,
    on_start: Callable[[Step], None] = lambda _: None,
) -> RunOutcome:
    follower = Follower(on_start, lambda _: None)
    return submit_job(request, dagster.client, dagster.instance, follower, log=dagster.log)


def run_of(dagster: RunningDagster, run_id: str) -> dg.DagsterRun:
    run = dagster.instance.get_run_by_id(run_id)
    assert run is not None
    return run


def test_a_submitted_batch_runs_in_the_platform_and_is_followed_to_its_end(
    dagster: RunningDagster, storage: Storage
) -> None:
    outcome = submit(dagster)

    assert outcome.failures == []
    titles = [step.title for step in outcome.steps]
    assert set(titles[:2]) == {"raw/patients", "labels/patients"}
    assert titles[-1] == "model/champion"
    assert all(step.seconds is not None for step in outcome.steps)
    assert sum(len(step.checks) for step in outcome.steps) > 70
    assert f"{outcome.run_id} STEP_SUCCESS model__champion" in dagster.log.read_text()
    (captured,) = dagster.instance.all_logs(
        outcome.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED
    )
    assert captured.dagster_event is not None
    key = [outcome.run_id, "compute_logs", captured.dagster_event.logs_captured_data.file_key]
    objects = storage.client("pipeline").list_objects(
        bucket_name="logs", prefix=f"dagster/storage/{'/'.join(key)}", recursive=True
    )
    sizes = {str(entry.object_name).rpartition("/")[2]: entry.size for entry in objects}
    assert set(sizes) >= {f"{key[-1]}.err", f"{key[-1]}.out"}
    assert sizes[f"{key[-1]}.err"] > 0
    assert "raw__patients" in (dagster.output(key)["stderr"] or "")


def test_output_is_shown_while_a_step_runs(dagster: RunningDagster) -> None:
    with slow_source() as server, ThreadPoolExecutor() as pool:
        run = pool.submit(submit, dagster, server.url, ONLY_RAW)
        assert server.requested.wait(120)
        (active,) = dagster.instance.get_runs(dg.RunsFilter(statuses=[_STATUS.STARTED]))
        (captured,) = dagster.instance.all_logs(
            active.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED
        )
        assert captured.dagster_event is not None
        file_key = captured.dagster_event.logs_captured_data.file_key
        output = dagster.output([active.run_id, "compute_logs", file_key])
        assert "STEP_START" in (output["stderr"] or "")
        (worker,) = dagster.workers()
        worker.kill()
        assert run.result(120).failures == []


def test_a_rejected_source_fails_the_run_without_retry(
    dagster: RunningDagster, tmp_path: Path
) -> None:
    outcome = submit(dagster, tmp_path / "absent.csv", ONLY_RAW)

    (failure,) = outcome.failures
    assert failure.startswith("raw/patients: ")
    assert "absent.csv" in failure
    assert run_of(dagster, outcome.run_id).tags["dagster/will_retry"] == "false"


def test_an_empty_selection_submits_no_run(dagster: RunningDagster) -> None:
    run_count = dagster.instance.get_runs_count()
    with pytest.raises(PlatformError, match="names no asset"):
        submit(dagster, select='key:"no/such"')
    assert dagster.instance.get_runs_count() == run_count


def test_two_runs_of_the_same_assets_do_not_overlap(dagster: RunningDagster) -> None:
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(submit, dagster, select=ONLY_RAW) for _ in range(2)]
        outcomes = [run.result(300) for run in runs]

    assert [outcome.failures for outcome in outcomes] == [[], []]
    records = [dagster.instance.get_run_record_by_id(outcome.run_id) for outcome in outcomes]
    first, second = sorted(
        (record.start_time or 0.0, record.end_time or 0.0) for record in records if record
    )
    assert first[1] <= second[0]


def test_ctrl_c_cancels_the_run_on_the_platform(dagster: RunningDagster) -> None:
    def interrupt(_: Step) -> None:
        raise KeyboardInterrupt

    with slow_source() as server, pytest.raises(KeyboardInterrupt):
        submit(dagster, server.url, ONLY_RAW, on_start=interrupt)

    (newest,) = dagster.instance.get_runs(limit=1)
    assert newest.status == _STATUS.CANCELED
    gone, alive = psutil.wait_procs(dagster.workers(), timeout=20)
    assert alive == [], gone


def test_a_run_whose_process_is_killed_is_retried_and_followed(
    dagster: RunningDagster,
) -> None:
    with slow_source() as server, ThreadPoolExecutor() as pool:
        run = pool.submit(submit, dagster, server.url, ONLY_RAW)
        assert server.requested.wait(120)
        (worker,) = dagster.workers()
        killed_at = time.time()
        worker.kill()
        outcome = run.result(120)

    assert outcome.failures == []
    lost = run_of(dagster, outcome.run_id).parent_run_id
    assert lost is not None
    record = dagster.instance.get_run_record_by_id(lost)
    assert record is not None
    assert record.dagster_run.status == _STATUS.FAILURE
    assert record.end_time is not None
    assert record.end_time - killed_at < 30


def test_runs_of_a_killed_code_server_end_and_are_retried(
    dagster: RunningDagster,
) -> None:
    with slow_source() as server, ThreadPoolExecutor() as pool:
        run = pool.submit(submit, dagster, server.url, ONLY_RAW)
        assert server.requested.wait(120)
        (worker,) = dagster.workers()
        kill(dagster.running["dagster-code"])
        killed_at = time.time()
        dagster.start_code_server()
        outcome = run.result(180)
        assert not worker.is_running()

    assert outcome.failures == []
    lost = run_of(dagster, outcome.run_id).parent_run_id
    assert lost is not None
    record = dagster.instance.get_run_record_by_id(lost)
    assert record is not None
    assert record.end_time is not None
    assert record.end_time - killed_at < 60


def test_a_schedule_that_is_switched_on_runs_the_batch(
    dagster: RunningDagster, storage: Storage
) -> None:
    assert dagster.schedule()["status"] == "STOPPED"
    dagster.turn_schedule_on()
    try:
        tick = _first_tick(dagster, seconds=90)
    finally:
        dagster.turn_schedule_off()

    assert tick["error"] is None
    (run_id,) = tick["runIds"]
    run = _ended(dagster, run_id, seconds=300)
    failure = describe_failure(dagster.instance, run_id, dagster.settings.dagster)
    assert run.status == _STATUS.SUCCESS, failure.text
    assert run.tags["dagster/schedule_name"] == "batch_schedule"
    objects = storage.client("pipeline").list_objects(
        bucket_name="logs", prefix=f"dagster/storage/{run_id}/", recursive=True
    )
    assert [entry for entry in objects if str(entry.object_name).endswith(".err")]
    assert dagster.schedule()["status"] == "STOPPED"


def _first_tick(dagster: RunningDagster, seconds: float) -> dict[str, object]:
    def ended_tick() -> dict[str, object]:
        ticks = dagster.schedule()["ticks"]
        assert isinstance(ticks, list)
        return next((dict(t) for t in ticks if t["status"] in {"SUCCESS", "FAILURE"}), {})

    return wait_until(ended_tick, timeout=seconds, interval=0.5)


def _ended(dagster: RunningDagster, run_id: str, seconds: float) -> dg.DagsterRun:
    wait_until(lambda: run_of(dagster, run_id).is_finished, timeout=seconds, interval=0.5)
    return run_of(dagster, run_id)


def test_any_job_can_be_launched_and_followed(dagster: RunningDagster) -> None:
    outcome = launch(dagster, LaunchRequest("maintenance"))
    assert outcome.failures == []
    assert {"maintain_stream", "maintain_rejected"} <= {step.name for step in outcome.steps}


def test_a_partitioned_job_runs_for_one_day_and_names_the_missing_setting(
    dagster: RunningDagster,
) -> None:
    outcome = launch(dagster, LaunchRequest("stream", partition="2026-11-24"))
    (failure,) = outcome.failures
    assert "PLATFORM_KAFKA_SERVERS is not set" in failure
    assert run_of(dagster, outcome.run_id).tags["dagster/partition"] == "2026-11-24"


def test_an_unknown_job_is_rejected(dagster: RunningDagster) -> None:
    with pytest.raises(PlatformError, match="unknown_job was not launched"):
        launch(dagster, LaunchRequest("unknown_job"))
