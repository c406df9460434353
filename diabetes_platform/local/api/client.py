"""The running API as the command line calls it."""

from collections.abc import Mapping
from typing import Any

import httpx

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.local.errors import FailedError, PlatformError

_TIMEOUT = 10.0


def example_patient() -> dict[str, float]:
    """Return the contract's example of a patient."""
    return {field.name: field.example for field in FEATURES}


def predict(
    base_url: str, patient: Mapping[str, Any], *, contributions: bool = False
) -> dict[str, Any]:
    """Return the API's answer for one patient, a JSON object.

    Raises FailedError where it refuses the patient, PlatformError where it cannot answer.
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
        raise FailedError(refusal(response))
    if not response.is_success:
        raise PlatformError(
            f"the API at {base_url} answers {response.status_code}: {response.text}"
        )
    answer: dict[str, Any] = response.json()
    return answer


def refusal(response: httpx.Response) -> str:
    """Return a problem document's reasons, one a line; the body as it is where it has none."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return f"{response.status_code}: {response.text}"
    problem = response.json()
    reasons = [
        "{field}: {code}: given {given!r}, allowed {allowed}".format_map(error)
        for error in problem.get("errors", [])
    ]
    return "\n".join(reasons) or str(problem.get("detail") or problem["title"])


def service_state(url: str) -> str:
    """Return what a service answers, in a few words."""
    try:
        response = httpx.get(url, timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return f"does not answer at {url}"
    if not response.is_success:
        return f"does not serve yet: {response.status_code} at {url}"
    version = response.json().get("model_version")
    return f"model {version} at {url}" if version else f"answers at {url}"
