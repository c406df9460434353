"""`POST /predict` and `POST /predict/batch`, on the routes and on the fast path."""

import json
import logging
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from diabetes_platform.contract.fields import FEATURE_NAMES, RESULT_LABELS
from serving.app.champion import ChampionWatcher
from serving.app.main import create_api, create_app
from serving.app.metrics import Metrics
from serving.app.predictions import MAX_BATCH, PredictFastPath
from serving.app.served_model import Measurements, Prediction, ServedModel
from serving.app.settings import ServingSettings
from serving.tests.bundles import make_bundle
from serving.tests.clients import JSON_HEADERS, PATIENT_JSON, assert_problem
from serving.tests.samples import ALIASED_PATIENT, PATIENT, REQUIRED_NAMES, patient

BUNDLE, _ = make_bundle()


def test_predict_returns_result_probability_threshold_and_version(client: TestClient) -> None:
    prediction = client.post("/predict", json=PATIENT).json()
    assert set(prediction) == {"result", "probability", "threshold", "model_version"}
    positive = prediction["probability"] >= prediction["threshold"]
    assert prediction["result"] == RESULT_LABELS[positive]
    assert prediction["model_version"] == BUNDLE.model_version


def test_contributions_are_returned_on_request(client: TestClient) -> None:
    prediction = client.post("/predict?contributions=true", json=PATIENT).json()
    contributions = prediction.pop("contributions")
    assert list(contributions["features"]) == list(FEATURE_NAMES)
    assert client.post("/predict?contributions=false", json=PATIENT).json() == prediction


def test_accepts_the_column_names_of_the_data_set(client: TestClient) -> None:
    aliased = client.post("/predict", json=ALIASED_PATIENT)
    assert aliased.json() == client.post("/predict", json=PATIENT).json()


def test_rejects_values_out_of_range_with_field_value_and_range(client: TestClient) -> None:
    response = client.post("/predict", json=patient(bmi=700, age=-1))
    assert assert_problem(response, 422) == [
        {
            "field": "bmi",
            "code": "above_maximum",
            "given": 700,
            "allowed": "10 to 100 kg/m²",
        },
        {"field": "age", "code": "below_minimum", "given": -1, "allowed": "18 to 120 years"},
    ]


def test_an_invalid_patient_does_not_affect_the_others_in_a_batch(client: TestClient) -> None:
    valid = patient(age=30)
    rows = [PATIENT, {"age": 7}, valid, "text", patient(bmi="33")]
    response = client.post("/predict/batch", json=rows).json()
    assert (response["predicted"], response["refused"]) == (2, 3)
    results = response["results"]
    assert results[0] == client.post("/predict", json=PATIENT).json()
    assert results[2] == client.post("/predict", json=valid).json()
    codes = [[error["code"] for error in results[index]["errors"]] for index in (1, 3, 4)]
    missing = ["missing"] * (len(REQUIRED_NAMES) - 1)
    assert codes == [[*missing, "below_minimum"], ["not_an_object"], ["not_a_number"]]


def test_a_batch_returns_contributions_on_request(client: TestClient) -> None:
    response = client.post("/predict/batch?contributions=true", json=[PATIENT])
    prediction = client.post("/predict?contributions=true", json=PATIENT).json()
    assert response.json()["results"] == [prediction]


def test_a_batch_has_at_most_the_documented_number_of_patients(client: TestClient) -> None:
    response = client.post("/predict/batch", json=[PATIENT] * MAX_BATCH).json()
    assert response["predicted"] == MAX_BATCH
    too_many = client.post("/predict/batch", json=[PATIENT] * (MAX_BATCH + 1))
    (error,) = assert_problem(too_many, 422)
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
def test_rejects_a_batch_that_is_not_a_list(client: TestClient, body: bytes, code: str) -> None:
    response = client.post("/predict/batch", content=body, headers=JSON_HEADERS)
    (error,) = assert_problem(response, 422)
    assert error["code"] == code


@pytest.mark.parametrize("path", ["/predict", "/predict?contributions=true", "/predict/batch"])
class TestBodies:
    """Behaviour of every route with a body."""

    @pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_rejects_another_media_type(
        self, client: TestClient, path: str, media_type: str
    ) -> None:
        response = client.post(path, content=PATIENT_JSON, headers={"content-type": media_type})
        (error,) = assert_problem(response, 415)
        assert (error["given"], error["allowed"]) == (media_type, "application/json")

    def test_accepts_json_with_a_charset(self, client: TestClient, path: str) -> None:
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        content = b"[{}]" if path.endswith("batch") else PATIENT_JSON
        assert client.post(path, content=content, headers=headers).status_code == 200

    def test_rejects_a_body_that_is_too_large(self, client: TestClient, path: str) -> None:
        response = client.post(path, content=b" " * 400_001, headers=JSON_HEADERS)
        (error,) = assert_problem(response, 413)
        assert error["allowed"] == "at most 400000 bytes"

    def test_returns_503_without_a_model(self, empty_client: TestClient, path: str) -> None:
        assert_problem(empty_client.post(path, json=PATIENT), 503)


BODIES = [
    PATIENT_JSON,
    json.dumps(patient(glucose=None, insulin=0)).encode(),
    json.dumps(patient(bmi=700)).encode(),
    json.dumps(patient(bmi=float("nan"))).encode(),
    json.dumps(patient(shoe_size=40)).encode(),
    json.dumps(patient(Age=50)).encode(),
    b'{"age": 1' + b"0" * 400 + b"}",
    b'{"age": 1, "age": 50}',
    "{}".encode("utf-16"),
    b"\xef\xbb\xbf{}",
    b"\xff",
    b"{}",
    b"[]",
    b"",
    b"{" * 10_000,
    b" " * 400_001,
]


@pytest.fixture
def route_client(settings: ServingSettings, released: ServedModel) -> Iterator[TestClient]:
    """Return a client of the same API without the fast path."""
    metrics = Metrics()
    watcher = ChampionWatcher(settings.models, metrics, poll_seconds=60, model=released)
    with TestClient(create_api(settings, watcher, metrics)) as test_client:
        yield test_client


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
@pytest.mark.parametrize("content_type", ["application/json", "application/json;v=1", "text/csv"])
def test_fast_path_and_route_send_the_same_bytes(
    client: TestClient, route_client: TestClient, body: bytes, content_type: str
) -> None:
    headers = {"content-type": content_type}
    fast = client.post("/predict", content=body, headers=headers)
    slow = route_client.post("/predict", content=body, headers=headers)
    assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
    assert dict(fast.headers) == dict(slow.headers)


def test_fast_path_and_route_count_requests_alike(
    client: TestClient, route_client: TestClient
) -> None:
    sample = 'diabetes_api_requests_total{route="/predict",status="422"} 1.0'
    for test_client in (client, route_client):
        test_client.post("/predict", json={})
        assert sample in test_client.get("/metrics").text


def test_does_not_observe_the_time_of_receiving_a_body_that_is_too_large(
    client: TestClient,
) -> None:
    client.post("/predict", content=b" " * 400_001, headers=JSON_HEADERS)
    exposition = client.get("/metrics").text
    assert 'diabetes_api_request_seconds_count{route="/predict"} 1.0' in exposition
    assert 'diabetes_api_request_seconds_sum{route="/predict"} 0.0' in exposition


class FailingModel(ServedModel):
    """A model that raises."""

    def predict(self, patient: Measurements) -> Prediction:
        raise RuntimeError(type(patient).__name__)


def test_a_server_error_is_a_problem_and_its_log_has_no_measurements(
    settings: ServingSettings, caplog: pytest.LogCaptureFixture
) -> None:
    model = FailingModel(BUNDLE, scorer=None)  # type: ignore[arg-type]  # it never scores
    body = patient(glucose=123.456)
    with (
        caplog.at_level(logging.ERROR),
        TestClient(create_app(settings, model=model), raise_server_exceptions=False) as client,
    ):
        fast = client.post("/predict", json=body)
        slow = client.post("/predict?contributions=true", json=body)
    assert fast.status_code == slow.status_code == 500
    assert fast.json()["type"] == "urn:diabetes-platform:problem:server-failure"
    assert "RuntimeError" in caplog.text
    assert "123.456" not in caplog.text


@pytest.mark.anyio
async def test_sends_nothing_to_a_client_that_disconnects(settings: ServingSettings) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/predict",
        "method": "POST",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    app = create_app(settings)
    assert isinstance(app, PredictFastPath)
    await app(scope, receive, send)
    assert sent == []
