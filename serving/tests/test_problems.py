"""Problem documents of errors that no route handles, headers, and the OpenAPI document."""

from typing import Any

from starlette.testclient import TestClient

from serving.app.predictions import MAX_BATCH
from serving.tests.clients import assert_problem
from serving.tests.samples import PATIENT


def test_rejects_a_parameter_that_is_not_a_boolean(client: TestClient) -> None:
    response = client.post("/predict?contributions=maybe", json=PATIENT)
    (error,) = assert_problem(response, 422)
    assert error == {
        "field": "contributions",
        "code": "bool_parsing",
        "given": "maybe",
        "allowed": "true or false",
    }


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/nowhere"), 404)
    response = client.delete("/model")
    assert_problem(response, 405)
    assert response.headers["allow"] == "GET"
    assert_problem(client.request("BREW", "/health"), 405)


def test_responses_are_not_cached_and_not_sniffed(client: TestClient) -> None:
    for path in ("/predict", "/predict?contributions=true"):
        headers = client.post(path, json=PATIENT).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == (
            "no-store",
            "nosniff",
        )


def test_openapi_documents_bodies_bounds_examples_and_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    predict = document["paths"]["/predict"]["post"]
    content = predict["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Patient"}
    assert client.post("/predict", json=content["example"]).status_code == 200
    assert schemas["Patient"]["properties"]["age"]["maximum"] == 120
    assert schemas["Patient"]["additionalProperties"] is False
    batch = document["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    assert batch["application/json"]["schema"]["maxItems"] == MAX_BATCH
    for status in ("413", "415", "422", "503"):
        assert "application/problem+json" in predict["responses"][status]["content"]
    references = set(_references(document))
    assert {"#/components/schemas/Problem", "#/components/schemas/Prediction"} <= references
    assert all(reference.rpartition("/")[2] in schemas for reference in references)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        references = [node["$ref"]] if "$ref" in node else []
        return references + [
            reference for value in node.values() for reference in _references(value)
        ]
    if isinstance(node, list):
        return [reference for value in node for reference in _references(value)]
    return []
