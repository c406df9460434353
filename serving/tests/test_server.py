"""The real server: models change under load, and the process starts and stops as it should."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import cycle
from pathlib import Path

import httpx2
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from serving.app.scorer import Scorer
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.bundles import make_bundle, model_text, point_at, release
from serving.tests.conftest import Start, free_port, wait_for
from serving.tests.streams import Stream
from serving.tests.warehouse import Warehouse

pytestmark = pytest.mark.integration

SWITCHES = 20


class Caller(threading.Thread):
    """Asks for predictions until it is told to stop, and keeps all answers."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url
        self.stopped = threading.Event()
        self.answers: list[tuple[int, str, float]] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with httpx2.Client(base_url=self._base_url, trust_env=False) as client:
                while not self.stopped.is_set():
                    response = client.post("/predict", json=EXAMPLE_PATIENT)
                    answer = response.json()
                    self.answers.append(
                        (response.status_code, answer["model_version"], answer["probability"])
                    )
        except Exception as error:  # noqa: BLE001  the test fails on it in its own thread
            self.failure = error


def test_a_model_changes_under_load_without_a_failed_or_mixed_answer(
    serve: Start, store: Path
) -> None:
    made = [make_bundle(), make_bundle(model_text(seed=2), intercept=3.0)]
    row = [float(EXAMPLE_PATIENT[name]) for name in FEATURE_NAMES]
    expected = {}
    for bundle, files in made:
        score = Scorer(files["model.txt"].decode(), FEATURE_NAMES).score(row)
        expected[bundle.model_version] = bundle.calibration.probability(score)
        release(store, bundle, files)
    low, high = sorted(expected.values())
    assert high - low > 0.3

    with serve() as client:
        wait_for(lambda: client.get("/ready").status_code == 200)
        callers = [Caller(str(client.base_url)) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            for _, (bundle, _) in zip(range(SWITCHES), cycle(made), strict=False):
                point_at(store, bundle)
                version = bundle.model_version
                wait_for(lambda: client.get("/ready").json()["model_version"] == version)  # noqa: B023
        finally:
            for caller in callers:
                caller.stopped.set()
            for caller in callers:
                caller.join()
        reloads = client.get("/metrics").text

    assert [caller.failure for caller in callers] == [None] * len(callers)
    answers = [answer for caller in callers for answer in caller.answers]
    assert len(answers) > 10 * SWITCHES
    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == set(expected)
    assert {(version, value) for _, version, value in answers} == set(expected.items())
    # The first look finds the last release, which is the second model: each switch is a change.
    assert f"diabetes_api_model_reloads_total {SWITCHES + 1}.0" in reloads


def test_the_first_model_makes_a_running_server_ready(serve: Start, store: Path) -> None:
    with serve() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        assert client.post("/predict", json=EXAMPLE_PATIENT).status_code == 503
        bundle, files = make_bundle()
        release(store, bundle, files)
        wait_for(lambda: client.get("/ready").status_code == 200)
        answer = client.post("/predict", json=EXAMPLE_PATIENT).json()
    assert answer["model_version"] == bundle.model_version


def test_a_model_that_ends_lightgbm_leaves_a_starting_server_alive_but_not_ready(
    serve: Start, store: Path
) -> None:
    text = model_text().replace("leaf_value=", "leaf_value=nan ", 1)
    release(store, *make_bundle(text=text))
    with serve() as client:
        assert client.get("/health").status_code == 200
        wait_for(lambda: "LightGBM ends the process" in client.get("/ready").text)
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200


def test_a_refused_model_shows_in_ready_while_the_old_one_answers(
    serve: Start, store: Path
) -> None:
    bundle, files = make_bundle()
    release(store, bundle, files)
    with serve() as client:
        wait_for(lambda: client.get("/ready").status_code == 200)
        release(store, *make_bundle(contract_fingerprint="f" * 64))
        wait_for(lambda: client.get("/ready").json()["problem"])
        ready = client.get("/ready").json()
        answer = client.post("/predict", json=EXAMPLE_PATIENT)
        metrics = client.get("/metrics").text
    assert "contract fingerprint" in ready["problem"]
    assert ready["model_version"] == answer.json()["model_version"] == bundle.model_version
    assert 'diabetes_api_model_reload_failures_total{reason="refused"}' in metrics


def test_a_connection_survives_a_body_that_was_not_read_to_its_end(
    serve: Start, store: Path
) -> None:
    release(store, *make_bundle())
    headers = {"content-type": "application/json"}
    with serve() as client:
        wait_for(lambda: client.get("/ready").status_code == 200)
        for _ in range(3):
            huge = client.post("/predict", content=b" " * 3_000_000, headers=headers)
            assert huge.status_code == 413
            assert client.post("/predict", json=EXAMPLE_PATIENT).status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_the_process_serves_until_it_is_told_to_stop(home: Path, store: Path, workers: int) -> None:
    release(store, *make_bundle())
    port = free_port()
    environment = os.environ | {
        "PLATFORM_HOME": str(home),
        "PLATFORM_API_PORT": str(port),
        "PLATFORM_API_WORKERS": str(workers),
    }
    process = _process(environment)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_for(lambda: _answers(client))
            for _ in range(10):
                assert client.post("/predict", json=EXAMPLE_PATIENT).status_code == 200
            metrics = client.get("/metrics").text
        assert 'diabetes_api_requests_total{route="/predict",status="200"} 10.0' in metrics
    finally:
        process.send_signal(signal.SIGTERM)
        # On a busy machine a worker may still be trying its model out, and ends after that.
        log, _ = process.communicate(timeout=60)
    assert "in use (previous: none)" in log
    assert "Traceback" not in log
    for value in EXAMPLE_PATIENT.values():
        assert f"{value!r}," not in log


def test_a_process_with_open_streams_ends_at_once_when_it_is_told_to(
    home: Path, store: Path, warehouse: Warehouse
) -> None:
    release(store, *make_bundle())
    port = free_port()
    environment = os.environ | {
        "PLATFORM_HOME": str(home),
        "PLATFORM_API_PORT": str(port),
        "PLATFORM_DATABASE_URL": warehouse.api,
    }
    process = _process(environment)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_for(lambda: _answers(client))
            patient_id = client.post("/patients", json=EXAMPLE_PATIENT).json()["id"]
            with Stream(str(client.base_url), patient_id) as stream:
                told = time.monotonic()
                process.send_signal(signal.SIGTERM)
                wait_for(lambda: stream.ended)
        log, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - told < 5
    assert process.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in log
    assert warehouse.api not in log


def _process(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "serving.app"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False
