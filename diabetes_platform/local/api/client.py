"""A client of the prediction API."""

from collections.abc import Mapping
from typing import Any

import httpx

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.errors import FailedError, PlatformError

_TIMEOUT = 10.0


def example_patient() -> dict[str, float]:
    """Return the example patient of the contract."""
    return {field.name: field.example for field in FEATURES}


def predict(
    base_url: str, patient: Mapping[str, Any], *, contributions: bool = False
) -> dict[str, Any]:
    """Return the prediction for one patient, a JSON object.

    Raises FailedError if the API rejects the patient, PlatformError if it does not answer.
    """
    params = {"contributions": "true"} if contributions else None
    try:
        with httpx.Client(base_url=base_url, trust_env=False, timeout=_TIMEOUT) as client:
            response = client.post("/predict", json=dict(patient), params=params)
    except httpx.TransportError as error:
        raise PlatformError(
            f"the API at {base_url} does not answer: start it with `make demo`"
        ) from error
    if response.is_client_error:
        raise FailedError(problem_text(response))
    if not response.is_success:
        raise PlatformError(
            f"the API at {base_url} answers {response.status_code}: {response.text}"
        )
    prediction: dict[str, Any] = response.json()
    return prediction


def problem_text(response: httpx.Response) -> str:
    """Return the errors of a problem details document, one per line, or else the body."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return f"{response.status_code}: {response.text}"
    problem = response.json()
    reasons = [
        "{field} is {given!r} ({code}); allowed: {allowed}".format_map(error)
        for error in problem.get("errors", [])
    ]
    return "\n".join(reasons) or str(problem.get("detail") or problem["title"])


def assigned_partitions(predictor_url: str) -> int | None:
    """Return the number of the predictor's partitions; None if it does not report one."""
    try:
        response = httpx.get(f"{predictor_url}/ready", timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return None
    partitions = _document(response).get("partitions")
    return partitions if type(partitions) is int else None


def service_state(url: str) -> str:
    """Return in a few words what a service answers at its readiness `url`."""
    try:
        response = httpx.get(url, timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return f"does not answer at {url}"
    if not response.is_success:
        return f"does not serve yet: {response.status_code} at {url}"
    version = _document(response).get("model_version")
    return f"model {version} at {url}" if version else f"answers at {url}"


def _document(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in a response; empty if it has another body."""
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
