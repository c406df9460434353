"""When the predictor is ready, and what it says while it is not."""

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


def test_ready_is_a_member_with_database_and_model(released: ServedModel, store: Path) -> None:
    state = PredictorState(joined=True, partitions=4, database_checked=True)
    answer = client(state, store, released).get("/ready")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["model_version"], told["partitions"]) == (released.bundle.model_version, 4)


NOT_READY = [
    (PredictorState(), "not yet a member"),
    (PredictorState(joined=True), "the database has not responded"),
    (
        PredictorState(joined=True, database_checked=True, problem="disk full"),
        "disk full",
    ),
]


@pytest.mark.parametrize(("state", "why"), NOT_READY)
def test_what_is_missing_is_said(
    state: PredictorState, why: str, released: ServedModel, store: Path
) -> None:
    opened = client(state, store, released)
    assert opened.get("/ready").status_code == 503
    assert why in opened.get("/ready").json()["detail"]
    assert opened.get("/health").json() == {"status": "alive"}


def test_without_a_model_it_is_not_ready(store: Path) -> None:
    opened = client(PredictorState(joined=True, database_checked=True), store, None)
    assert opened.get("/ready").json()["detail"].startswith("no model")


def test_metrics_are_prometheus_text(store: Path) -> None:
    answer = client(PredictorState(), store, None).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "diabetes_predictor_rejected_total 0.0" in answer.text
