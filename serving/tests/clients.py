"""Requests and assertions that tests of several routes share."""

import json
from functools import partial
from typing import Any

import httpx2

from diabetes_platform import polling
from serving.tests.samples import PATIENT

JSON_HEADERS = {"content-type": "application/json"}
PATIENT_JSON = json.dumps(PATIENT).encode()

wait_until = partial(polling.wait_until, timeout=20.0, interval=0.01)


def assert_problem(response: Any, status: int) -> list[dict[str, Any]]:
    """Assert that the response is a problem document; return its errors."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) == {"type", "title", "status", "detail", "errors"}
    assert document["status"] == status
    assert document["type"].startswith("urn:diabetes-platform:problem:")
    errors: list[dict[str, Any]] = document["errors"]
    assert all(set(error) == {"field", "code", "given", "allowed"} for error in errors)
    return errors


def take_in(client: httpx2.Client, patient: dict[str, Any] | None = None) -> int:
    """Store a patient, the example by default; return its id."""
    response = client.post("/patients", json=patient or PATIENT)
    assert response.status_code == 201, response.text
    patient_id: int = response.json()["id"]
    return patient_id
