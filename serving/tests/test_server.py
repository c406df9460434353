"""A real server: model changes under load, start and stop of the process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import httpx2
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from serving.app.scorer import Scorer
from serving.tests.bundles import make_bundle, model_text, point_at, release
from serving.tests.clients import wait_until
from serving.tests.conftest import StartServer, free_port
from serving.tests.event_streams import EventStream
from serving.tests.samples import PATIENT, PATIENT_ROW
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

SWITCHES = 20


class Caller(threading.Thread):
    """Requests predictions until `stopped` is set, and records all responses."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url
        self.stopped = threading.Event()
        self.responses: list[tuple[int, str, float]] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with httpx2.Client(base_url=self._base_url, trust_env=False) as client:
                while not self.stopped.is_set():
                    response = client.post("/predict", json=PATIENT)
                    prediction = response.json()
                    self.responses.append(
                        (
                            response.status_code,
                            prediction["model_version"],
                            prediction["probability"],
                        )
                    )
        except Exception as error:  # noqa: BLE001 - the test asserts that it is None
            self.failure = error


def test_model_changes_under_load_cause_no_failed_or_mixed_response(
    start_server: StartServer, store: Path
) -> None:
    bundles = [make_bundle(), make_bundle(model_text(seed=2), intercept=3.0)]
    expected = {}
    for bundle, files in bundles:
        score = Scorer(files["model.txt"].decode(), FEATURE_NAMES).score(PATIENT_ROW)
        expected[bundle.model_version] = bundle.calibration.probability(score)
        release(store, bundle, files)
    low, high = sorted(expected.values())
    assert high - low > 0.3

    with start_server() as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        callers = [Caller(str(client.base_url)) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            for _, (bundle, _) in zip(range(SWITCHES), cycle(bundles), strict=False):
                point_at(store, bundle)
                version = bundle.model_version
                wait_until(lambda: client.get("/ready").json()["model_version"] == version)  # noqa: B023
        finally:
            for caller in callers:
                caller.stopped.set()
            for caller in callers:
                caller.join()
        metrics = client.get("/metrics").text

    assert [caller.failure for caller in callers] == [None] * len(callers)
    responses = [response for caller in callers for response in caller.responses]
    assert len(responses) > 10 * SWITCHES
    assert {status for status, _, _ in responses} == {200}
    assert {version for _, version, _ in responses} == set(expected)
    assert {(version, value) for _, version, value in responses} == set(expected.items())
    # The first poll finds the second model, which was released last: each switch is a change.
    assert f"diabetes_api_model_reloads_total {SWITCHES + 1}.0" in metrics


def test_the_first_release_makes_a_running_server_ready(
    start_server: StartServer, store: Path
) -> None:
    with start_server() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        assert client.post("/predict", json=PATIENT).status_code == 503
        bundle, files = make_bundle()
        release(store, bundle, files)
        wait_until(lambda: client.get("/ready").status_code == 200)
        prediction = client.post("/predict", json=PATIENT).json()
    assert prediction["model_version"] == bundle.model_version


def test_a_first_model_that_ends_its_process_leaves_the_server_alive_but_not_ready(
    start_server: StartServer, store: Path
) -> None:
    text = model_text().replace("leaf_value=", "leaf_value=nan ", 1)
    release(store, *make_bundle(text=text))
    with start_server() as client:
        assert client.get("/health").status_code == 200
        wait_until(lambda: "LightGBM ends the process" in client.get("/ready").text)
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200


def test_ready_reports_a_rejected_model_while_the_current_one_predicts(
    start_server: StartServer, store: Path
) -> None:
    bundle, files = make_bundle()
    release(store, bundle, files)
    with start_server() as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        release(store, *make_bundle(contract_fingerprint="f" * 64))
        wait_until(lambda: client.get("/ready").json()["problem"])
        ready = client.get("/ready").json()
        response = client.post("/predict", json=PATIENT)
        metrics = client.get("/metrics").text
    assert "contract fingerprint" in ready["problem"]
    assert ready["model_version"] == response.json()["model_version"] == bundle.model_version
    assert 'diabetes_api_model_reload_failures_total{reason="refused"}' in metrics


def test_a_connection_can_be_reused_after_a_body_that_was_too_large(
    start_server: StartServer, store: Path
) -> None:
    release(store, *make_bundle())
    headers = {"content-type": "application/json"}
    with start_server() as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        for _ in range(3):
            too_large = client.post("/predict", content=b" " * 3_000_000, headers=headers)
            assert too_large.status_code == 413
            assert client.post("/predict", json=PATIENT).status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_the_process_serves_until_a_stop_signal(home: Path, store: Path, workers: int) -> None:
    release(store, *make_bundle())
    port = free_port()
    environment = os.environ | {
        "PLATFORM_HOME": str(home),
        "PLATFORM_API_PORT": str(port),
        "PLATFORM_API_WORKERS": str(workers),
    }
    with _running(environment) as process:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until(lambda: _is_ready(client))
            for _ in range(10):
                assert client.post("/predict", json=PATIENT).status_code == 200
            metrics = client.get("/metrics").text
        assert 'diabetes_api_requests_total{route="/predict",status="200"} 10.0' in metrics
        process.send_signal(signal.SIGTERM)
        # On a busy machine a worker may still be opening its model, and ends after that.
        log, _ = process.communicate(timeout=60)
    assert "in use (previous: none)" in log
    assert "Traceback" not in log
    for value in PATIENT.values():
        assert f"{value!r}," not in log


def test_a_stop_signal_ends_a_process_with_open_streams_at_once(
    home: Path, store: Path, warehouse: Warehouse
) -> None:
    release(store, *make_bundle())
    port = free_port()
    environment = os.environ | {
        "PLATFORM_HOME": str(home),
        "PLATFORM_API_PORT": str(port),
        "PLATFORM_DATABASE_URL": warehouse.api,
    }
    with _running(environment) as process:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until(lambda: _is_ready(client))
            patient_id = client.post("/patients", json=PATIENT).json()["id"]
            with EventStream(str(client.base_url), patient_id) as stream:
                signalled = time.monotonic()
                process.send_signal(signal.SIGTERM)
                wait_until(lambda: stream.ended)
        log, _ = process.communicate(timeout=20)
    assert time.monotonic() - signalled < 5
    assert process.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in log
    assert warehouse.api not in log


@contextmanager
def _running(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the API's process within the block; kill it if the block has not ended it."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "serving.app"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                # With its workers, which belong to the same session.
                os.killpg(process.pid, signal.SIGKILL)


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False
