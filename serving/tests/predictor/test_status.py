"""Readiness of the predictor, and the reason while it is not ready."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.app.champion import ChampionWatcher
from serving.app.served_model import ServedModel
from serving.predictor.metrics import PredictorMetrics
from serving.predictor.status import PredictorState, create_status_app


def client(state: PredictorState, store: Path, model: ServedModel | None) -> TestClient:
    metrics = PredictorMetrics()
    watcher = ChampionWatcher(str(store), metrics, poll_seconds=1, model=model)
    return TestClient(create_status_app(state, watcher, metrics))


def test_ready_with_group_membership_database_and_model(released: ServedModel, store: Path) -> None:
    state = PredictorState(joined=True, partitions=4, database_checked=True)
    response = client(state, store, released).get("/ready")
    assert response.status_code == 200
    document = response.json()
    assert document["model_version"] == released.bundle.model_version
    assert document["partitions"] == 4


NOT_READY = [
    (PredictorState(), "not yet a member"),
    (PredictorState(joined=True, unassigned=True, database_checked=True), "no partition"),
    (PredictorState(joined=True), "the database has not responded"),
    (PredictorState(joined=True, database_checked=True, problem="disk full"), "disk full"),
]


@pytest.mark.parametrize(("state", "reason"), NOT_READY)
def test_not_ready_with_the_reason(
    state: PredictorState, reason: str, released: ServedModel, store: Path
) -> None:
    status_client = client(state, store, released)
    assert status_client.get("/ready").status_code == 503
    assert reason in status_client.get("/ready").json()["detail"]
    assert status_client.get("/health").json() == {"status": "alive"}


def test_not_ready_without_a_model(store: Path) -> None:
    status_client = client(PredictorState(joined=True, database_checked=True), store, None)
    assert status_client.get("/ready").json()["detail"].startswith("no model")


def test_metrics_are_prometheus_text(store: Path) -> None:
    response = client(PredictorState(), store, None).get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "diabetes_predictor_rejected_total 0.0" in response.text
