"""The fast path and the declared route give the same answer, byte for byte."""

import json
import logging
from collections.abc import Iterator

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient
from starlette.types import Message

from serving.app.champion import ChampionWatcher
from serving.app.main import create_api, create_app
from serving.app.metrics import Metrics
from serving.app.predictions import PredictFastPath
from serving.app.served_model import Prediction, ServedModel
from serving.app.settings import ServingSettings
from serving.app.validation import EXAMPLE_PATIENT
from serving.tests.bundles import make_bundle

BODIES = [
    json.dumps(EXAMPLE_PATIENT).encode(),
    json.dumps({**EXAMPLE_PATIENT, "glucose": None, "insulin": 0}).encode(),
    json.dumps({**EXAMPLE_PATIENT, "bmi": 700}).encode(),
    json.dumps({**EXAMPLE_PATIENT, "bmi": float("nan")}).encode(),
    json.dumps({**EXAMPLE_PATIENT, "shoe_size": 40}).encode(),
    json.dumps({**EXAMPLE_PATIENT, "Age": 50}).encode(),
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
def declared(settings: ServingSettings, released: ServedModel) -> Iterator[TestClient]:
    """Return a client of the same API without the fast path."""
    metrics = Metrics()
    watcher = ChampionWatcher(settings.models, metrics, poll_seconds=60, model=released)
    with TestClient(create_api(settings, watcher, metrics)) as opened:
        yield opened


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
@pytest.mark.parametrize("content_type", ["application/json", "application/json;v=1", "text/csv"])
def test_both_paths_answer_alike(
    client: TestClient, declared: TestClient, body: bytes, content_type: str
) -> None:
    headers = {"content-type": content_type}
    fast = client.post("/predict", content=body, headers=headers)
    slow = declared.post("/predict", content=body, headers=headers)
    assert (fast.status_code, fast.content) == (slow.status_code, slow.content)
    assert dict(fast.headers) == dict(slow.headers)


def test_both_paths_count_alike(client: TestClient, declared: TestClient) -> None:
    line = 'diabetes_api_requests_total{route="/predict",status="422"} 1.0'
    for one in (client, declared):
        one.post("/predict", json={})
        assert line in one.get("/metrics").text


class Broken(ServedModel):
    """A model that fails."""

    def predict(self, patient: BaseModel) -> Prediction:
        raise RuntimeError(type(patient).__name__)


def test_a_fault_of_ours_is_told_as_one_and_logged_without_values(
    settings: ServingSettings, caplog: pytest.LogCaptureFixture
) -> None:
    bundle, _ = make_bundle()
    model = Broken(bundle, scorer=None)  # type: ignore[arg-type]  # it never scores
    patient = {**EXAMPLE_PATIENT, "glucose": 123.456}
    with (
        caplog.at_level(logging.ERROR),
        TestClient(create_app(settings, model=model), raise_server_exceptions=False) as opened,
    ):
        response = opened.post("/predict", json=patient)
        declared = opened.post("/predict?contributions=true", json=patient)
    assert response.status_code == declared.status_code == 500
    assert response.json()["type"] == "urn:diabetes-platform:problem:server-failure"
    assert "RuntimeError" in caplog.text
    assert "123.456" not in caplog.text


@pytest.mark.anyio
async def test_a_client_that_leaves_gets_no_answer(settings: ServingSettings) -> None:
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
