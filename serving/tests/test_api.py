"""The API as its callers see it."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES, RESULT_LABELS
from serving.app.predictions import MAX_BATCH
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.bundles import make_bundle

BUNDLE, _ = make_bundle()
JSON = {"content-type": "application/json"}


def assert_problem(response: Any, status: int) -> list[dict[str, Any]]:
    """Check that the answer is a problem document; return its errors."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) == {"type", "title", "status", "detail", "errors"}
    assert document["status"] == status
    assert document["type"].startswith("urn:diabetes-platform:problem:")
    errors: list[dict[str, Any]] = document["errors"]
    assert all(set(error) == {"field", "code", "given", "allowed"} for error in errors)
    return errors


def test_predict_answers_result_probability_threshold_and_version(client: TestClient) -> None:
    answer = client.post("/predict", json=EXAMPLE_PATIENT).json()
    assert set(answer) == {"result", "probability", "threshold", "model_version"}
    assert answer["result"] == RESULT_LABELS[answer["probability"] >= answer["threshold"]]
    assert answer["model_version"] == BUNDLE.model_version


def test_contributions_are_answered_on_request(client: TestClient) -> None:
    answer = client.post("/predict?contributions=true", json=EXAMPLE_PATIENT).json()
    assert list(answer["contributions"]["features"]) == list(FEATURE_NAMES)
    without = client.post("/predict?contributions=false", json=EXAMPLE_PATIENT).json()
    assert without == {name: value for name, value in answer.items() if name != "contributions"}


def test_the_flat_names_of_the_data_set_are_accepted(client: TestClient) -> None:
    flat = {field.alias: field.example for field in FEATURES}
    assert (
        client.post("/predict", json=flat).json()
        == client.post("/predict", json=EXAMPLE_PATIENT).json()
    )


def test_a_patient_out_of_bounds_is_refused_with_field_given_and_allowed(
    client: TestClient,
) -> None:
    bad = {**EXAMPLE_PATIENT, "bmi": 700, "age": -1}
    assert assert_problem(client.post("/predict", json=bad), 422) == [
        {
            "field": "bmi",
            "code": "above_maximum",
            "given": 700,
            "allowed": "10 to 100 kg/m²",
        },
        {"field": "age", "code": "below_minimum", "given": -1, "allowed": "18 to 120 years"},
    ]


def test_a_bad_patient_stops_no_good_one(client: TestClient) -> None:
    good = {**EXAMPLE_PATIENT, "age": 30}
    rows = [EXAMPLE_PATIENT, {"age": 7}, good, "text", {**EXAMPLE_PATIENT, "bmi": "33"}]
    answer = client.post("/predict/batch", json=rows).json()
    assert (answer["predicted"], answer["refused"]) == (2, 3)
    results = answer["results"]
    assert results[0] == client.post("/predict", json=EXAMPLE_PATIENT).json()
    assert results[2] == client.post("/predict", json=good).json()
    codes = [[error["code"] for error in results[index]["errors"]] for index in (1, 3, 4)]
    assert codes == [["missing", "missing", "below_minimum"], ["not_an_object"], ["not_a_number"]]


def test_a_batch_with_contributions(client: TestClient) -> None:
    response = client.post("/predict/batch?contributions=true", json=[EXAMPLE_PATIENT])
    one = client.post("/predict?contributions=true", json=EXAMPLE_PATIENT).json()
    assert response.json()["results"] == [one]


def test_a_batch_takes_up_to_the_documented_number(client: TestClient) -> None:
    answer = client.post("/predict/batch", json=[EXAMPLE_PATIENT] * MAX_BATCH).json()
    assert answer["predicted"] == MAX_BATCH
    more = client.post("/predict/batch", json=[EXAMPLE_PATIENT] * (MAX_BATCH + 1))
    (error,) = assert_problem(more, 422)
    assert error["given"] == f"{MAX_BATCH + 1} patients"
    assert error["allowed"] == f"a list of 1 to {MAX_BATCH} patients"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "not_allowed"),
        (b"{}", "not_a_list"),
        (b"null", "not_a_list"),
        (b"", "not_json"),
        (b"[" * 50_000, "not_json"),
        (b"[NaN", "not_json"),
    ],
)
def test_a_batch_that_is_no_list_is_refused(client: TestClient, body: bytes, code: str) -> None:
    (error,) = assert_problem(client.post("/predict/batch", content=body, headers=JSON), 422)
    assert error["code"] == code


@pytest.mark.parametrize("path", ["/predict", "/predict?contributions=true", "/predict/batch"])
class TestBodies:
    """What holds for every route with a body."""

    @pytest.mark.parametrize("given", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_another_content_type(self, client: TestClient, path: str, given: str) -> None:
        body = json.dumps(EXAMPLE_PATIENT).encode()
        response = client.post(path, content=body, headers={"content-type": given})
        (error,) = assert_problem(response, 415)
        assert (error["given"], error["allowed"]) == (given, "application/json")

    def test_a_charset_is_no_other_content_type(self, client: TestClient, path: str) -> None:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        content = b"[{}]" if path.endswith("batch") else json.dumps(EXAMPLE_PATIENT).encode()
        assert client.post(path, content=content, headers=headers).status_code == 200

    def test_a_body_that_is_too_large(self, client: TestClient, path: str) -> None:
        (error,) = assert_problem(client.post(path, content=b" " * 400_001, headers=JSON), 413)
        assert error["allowed"] == "at most 400000 bytes"

    def test_no_model_yet(self, empty_client: TestClient, path: str) -> None:
        assert_problem(empty_client.post(path, json=EXAMPLE_PATIENT), 503)


def test_a_parameter_that_is_no_boolean(client: TestClient) -> None:
    response = client.post("/predict?contributions=maybe", json=EXAMPLE_PATIENT)
    (error,) = assert_problem(response, 422)
    assert error == {
        "field": "contributions",
        "code": "bool_parsing",
        "given": "maybe",
        "allowed": "true or false",
    }


def test_an_unknown_path_and_a_wrong_method(client: TestClient) -> None:
    assert_problem(client.get("/nowhere"), 404)
    response = client.delete("/model")
    assert_problem(response, 405)
    assert response.headers["allow"] == "GET"


def test_a_status_of_no_kind_of_ours_is_about_blank(client: TestClient) -> None:
    response = client.request("BREW", "/health")
    assert response.status_code == 405


def test_the_model_card(client: TestClient) -> None:
    card = client.get("/model").json()
    assert card["model_version"] == BUNDLE.model_version
    assert card["metrics"]["roc_auc"]["low"] == 0.75


def test_without_a_model_the_server_lives_but_is_not_ready(empty_client: TestClient) -> None:
    assert empty_client.get("/health").json() == {"status": "alive"}
    response = empty_client.get("/ready")
    assert_problem(response, 503)
    assert "nothing released" in response.json()["detail"]
    assert_problem(empty_client.get("/model"), 503)


def test_with_a_model_the_server_is_ready(client: TestClient) -> None:
    assert client.get("/ready").json() == {
        "status": "ready",
        "model_version": BUNDLE.model_version,
        "problem": None,
    }


def test_answers_are_not_cached_and_not_sniffed(client: TestClient) -> None:
    for path in ("/predict", "/predict?contributions=true"):
        headers = client.post(path, json=EXAMPLE_PATIENT).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == (
            "no-store",
            "nosniff",
        )


def test_metrics_count_by_route_and_status(client: TestClient) -> None:
    client.post("/predict", json=EXAMPLE_PATIENT)
    client.post("/predict", json={})
    client.post("/predict?contributions=true", json=EXAMPLE_PATIENT)
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'diabetes_api_requests_total{route="/predict",status="200"} 2.0' in text
    assert 'diabetes_api_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'diabetes_api_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "/no/such/path" not in text
    assert f'diabetes_api_model_info{{model_version="{BUNDLE.model_version}"}} 1.0' in text


def test_openapi_shows_bodies_bounds_examples_and_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    one = document["paths"]["/predict"]["post"]
    content = one["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Patient"}
    assert client.post("/predict", json=content["example"]).status_code == 200
    assert schemas["Patient"]["properties"]["age"]["maximum"] == 120
    assert schemas["Patient"]["additionalProperties"] is False
    many = document["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    assert many["application/json"]["schema"]["maxItems"] == MAX_BATCH
    for status in ("413", "415", "422", "503"):
        assert "application/problem+json" in one["responses"][status]["content"]
    references = set(_references(document))
    assert {"#/components/schemas/Problem", "#/components/schemas/Prediction"} <= references
    assert all(reference.rpartition("/")[2] in schemas for reference in references)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [one for value in node.values() for one in _references(value)]
    if isinstance(node, list):
        return [one for value in node for one in _references(value)]
    return []
