"""The routes about the server: model card, health, readiness and metrics."""

from starlette.testclient import TestClient

from serving.tests.bundles import make_bundle
from serving.tests.clients import assert_problem
from serving.tests.samples import PATIENT

BUNDLE, _ = make_bundle()


def test_model_card_describes_the_bundle(client: TestClient) -> None:
    card = client.get("/model").json()
    assert card["model_version"] == BUNDLE.model_version
    assert card["metrics"]["roc_auc"]["low"] == 0.75


def test_without_a_model_the_server_is_alive_but_not_ready(empty_client: TestClient) -> None:
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


def test_metrics_count_by_route_and_status(client: TestClient) -> None:
    client.post("/predict", json=PATIENT)
    client.post("/predict", json={})
    client.post("/predict?contributions=true", json=PATIENT)
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'diabetes_api_requests_total{route="/predict",status="200"} 2.0' in text
    assert 'diabetes_api_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'diabetes_api_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "/no/such/path" not in text
    assert f'diabetes_api_model_info{{model_version="{BUNDLE.model_version}"}} 1.0' in text
