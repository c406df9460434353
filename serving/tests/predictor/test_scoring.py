"""Planning and scoring of a batch, and the notifications about it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from diabetes_platform.contract.change_events import Deletion
from diabetes_platform.contract.tables import PREDICTIONS
from serving.app.served_model import ServedModel
from serving.predictor.messages import ConsumedChange
from serving.predictor.scoring import notification_payloads, plan_batch, score_changes
from serving.tests.predictor.sample_messages import change

EPOCH = datetime.fromtimestamp(0, UTC)
A1, A2, B1 = change(1, 10), change(1, 20), change(2, 15)

PLANS = [
    ([], (), ()),
    ([A1, B1, A2], (A1, B1, A2), ()),
    ([A2, A1], (A2, A1), ()),
    ([A1, A1, B1], (A1, B1), ()),
    ([A1, Deletion(1), B1], (B1,), (1,)),
    ([Deletion(1), A1], (A1,), (1,)),
    ([A1, Deletion(1), A2, Deletion(1)], (), (1,)),
    ([A1, Deletion(1), A2], (A2,), (1,)),
    ([Deletion(2), Deletion(1)], (), (2, 1)),
]


@pytest.mark.parametrize(("contents", "changes", "deleted"), PLANS)
def test_plans_changes_after_a_deletion_without_repetitions(
    contents: list[ConsumedChange | Deletion],
    changes: tuple[ConsumedChange, ...],
    deleted: tuple[int, ...],
) -> None:
    assert plan_batch(contents) == (list(changes), list(deleted))


def test_scored_rows_have_all_columns_without_a_default(released: ServedModel) -> None:
    rows, scored_ms = score_changes([A1, B1], released, consumed_ms=1.5, clock=lambda: 2.5)
    assert scored_ms == 2.5
    for row in rows:
        assert set(row) == set(PREDICTIONS.column_names) - {"stored_at"}
        times = [row[name] - EPOCH for name in ("consumed_at", "scored_at")]
        assert times == [timedelta(milliseconds=1.5), timedelta(milliseconds=2.5)]
    assert [row["intake_id"] for row in rows] == [1, 2]
    expected = released.predict_all([A1.message.image, B1.message.image], with_contributions=True)
    for name in ("probability", "result", "model_version", "contributions"):
        assert [row[name] for row in rows] == [prediction[name] for prediction in expected]


def test_an_empty_batch_has_no_rows(released: ServedModel) -> None:
    assert score_changes([], released, consumed_ms=1, clock=lambda: 2) == ([], 2)


@pytest.mark.parametrize("ids", [[], [7], [7, 8, 7], list(range(10**17, 10**17 + 2000))])
def test_notifications_name_each_patient_once_and_fit_postgresql(ids: list[int]) -> None:
    payloads = list(notification_payloads(ids))
    notified = [patient_id for payload in payloads for patient_id in json.loads(payload)]
    assert notified == list(dict.fromkeys(ids))
    assert all(len(payload) <= 7000 for payload in payloads)
    assert len(payloads) == -(-len(set(ids)) * 19 // 7000)
