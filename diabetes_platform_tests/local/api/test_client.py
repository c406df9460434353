"""The client of the prediction API."""

import httpx
import pytest

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.api.client import (
    assigned_partitions,
    example_patient,
    predict,
    problem_text,
    service_state,
)
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.lake.web import serving


def problem(document: object) -> httpx.Response:
    return httpx.Response(422, json=document, headers={"content-type": "application/problem+json"})


def test_the_contract_accepts_the_example_patient() -> None:
    assert reasons_to_reject(example_patient(), FEATURES) == ()


def test_names_the_remedy_if_the_api_does_not_answer() -> None:
    with pytest.raises(PlatformError, match=r"does not answer: start it with `make demo`"):
        predict(f"http://{HOST}:{free_port()}", example_patient())


@pytest.mark.parametrize(
    ("response", "text"),
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
                "age is 3 (below_minimum); allowed: 18 to 120\n"
                "bmi is None (missing); allowed: 10 to 100"
            ),
        ),
        (problem({"title": "Not found", "detail": "no such route"}), "no such route"),
        (httpx.Response(400, text="Bad Request"), "400: Bad Request"),
    ],
)
def test_formats_a_problem_document_one_error_a_line(response: httpx.Response, text: str) -> None:
    assert problem_text(response) == text


def test_another_program_on_the_port_has_no_partitions_and_no_model() -> None:
    with serving() as program:
        assert assigned_partitions(program.url) is None
        assert service_state(program.url) == f"answers at {program.url}"
