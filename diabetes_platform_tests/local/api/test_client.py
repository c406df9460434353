"""The command line's view of the API's answers."""

import httpx
import pytest

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.local.api.client import example_patient, predict, refusal
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import HOST, free_port


def problem(document: object) -> httpx.Response:
    return httpx.Response(422, json=document, headers={"content-type": "application/problem+json"})


def test_the_example_is_a_patient_that_the_contract_accepts() -> None:
    assert reasons_to_reject(example_patient(), FEATURES) == ()


def test_a_silent_api_is_named_with_the_remedy() -> None:
    with pytest.raises(PlatformError, match=r"does not answer: start it with `make demo`"):
        predict(f"http://{HOST}:{free_port()}", example_patient())


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (
            problem(
                {
                    "title": "Not allowed",
                    "errors": [
                        {
                            "field": "age",
                            "code": "below_minimum",
                            "given": 3,
                            "allowed": "18 to 120",
                        },
                        {"field": "bmi", "code": "missing", "given": None, "allowed": "10 to 100"},
                    ],
                }
            ),
            (
                "age: below_minimum: given 3, allowed 18 to 120\n"
                "bmi: missing: given None, allowed 10 to 100"
            ),
        ),
        (problem({"title": "Not found", "detail": "no such route"}), "no such route"),
        (httpx.Response(400, text="Bad Request"), "400: Bad Request"),
    ],
)
def test_a_refusal_is_told_reason_by_reason(response: httpx.Response, told: str) -> None:
    assert refusal(response) == told
