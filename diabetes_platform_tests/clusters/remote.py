"""A client of a platform in containers: watches runs, sends patients, reads their answers."""

import json
from typing import Any

import httpx

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.api.client import example_patient
from diabetes_platform.local.dagster.client import DagsterClient
from diabetes_platform.polling import wait_until

_RUN_STATUS = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def run_state(dagster: DagsterClient, run: str) -> str:
    """Return the current status of a run."""
    state: str = dagster.query(_RUN_STATUS, run=run)["runOrError"]["status"]
    return state


def final_state(dagster: DagsterClient, run: str, timeout: float) -> str:
    """Wait for the end of a run and return its status."""

    def state() -> str:
        current = run_state(dagster, run)
        return current if current in _ENDED else ""

    return wait_until(state, timeout=timeout, interval=2, retry_on=(PlatformError,))


def send_patient(api: str) -> int:
    """Store a patient through the API and return its id."""
    receipt = httpx.post(f"{api}/patients", json=example_patient(), timeout=30, trust_env=False)
    assert receipt.status_code == httpx.codes.CREATED, receipt.text
    patient: int = receipt.json()["id"]
    return patient


def read_page(api: str, path: str) -> str:
    """Return the text at a path of the API."""
    answer = httpx.get(f"{api}{path}", timeout=30, trust_env=False)
    return answer.raise_for_status().text


def stored_patient(api: str, patient: int) -> dict[str, Any]:
    """Return a patient with its measurements and its prediction, None if there is none yet."""
    content: dict[str, Any] = json.loads(read_page(api, f"/patients/{patient}"))
    return content


def wait_for_prediction(
    api: str, patient: int, timeout: float, *, retry_on: tuple[type[Exception], ...] = ()
) -> dict[str, Any]:
    """Wait for the prediction that the stream stores for a patient, and return it."""
    prediction: dict[str, Any] = wait_until(
        lambda: stored_patient(api, patient)["prediction"],
        timeout=timeout,
        interval=0.5,
        retry_on=retry_on,
    )
    return prediction
