"""Planning and scoring of a batch, and the notifications about it."""

import json

import pytest

from diabetes_platform.contract.tables import PREDICTIONS
from serving.app.served_model import ServedModel
from serving.predictor.batch import BatchPlan, notification_payloads, plan_batch, score_changes
from serving.predictor.messages import Change, Deleted
from serving.tests.predictor.sample_messages import change

A1, A2, B1 = change(1, 10), change(1, 20), change(2, 15)

PLANS = [
    ([], (), ()),
    ([A1, B1, A2], (A1, B1, A2), ()),
    ([A2, A1], (A2, A1), ()),
    ([A1, A1, B1], (A1, B1), ()),
    ([A1, Deleted(1), B1], (B1,), (1,)),
    ([Deleted(1), A1], (A1,), (1,)),
    ([A1, Deleted(1), A2, Deleted(1)], (), (1,)),
    ([A1, Deleted(1), A2], (A2,), (1,)),
    ([Deleted(2), Deleted(1)], (), (2, 1)),
]


@pytest.mark.parametrize(("messages", "changes", "deleted"), PLANS)
def test_plans_changes_after_a_deletion_without_repetitions(
    messages: list[Change | Deleted], changes: tuple[Change, ...], deleted: tuple[int, ...]
) -> None:
    assert plan_batch(messages) == BatchPlan(changes, deleted)


def test_scored_rows_have_all_columns_without_a_default(released: ServedModel) -> None:
    rows = score_changes([A1, B1], released, consumed_ms=1.5, clock=lambda: 2.5)
    assert set(rows.columns) == set(PREDICTIONS.column_names) - {"stored_at"}
    assert {len(values) for values in rows.columns.values()} == {2}
    assert (len(rows), rows.patient_ids, rows.scored_ms) == (2, [1, 2], 2.5)
    assert rows.columns["consumed_at"] == [1.5, 1.5]
    expected = released.predict_all([A1.patient, B1.patient], with_contributions=True)
    for name in ("probability", "result", "model_version"):
        assert rows.columns[name] == [prediction[name] for prediction in expected]
    contributions = [json.loads(text) for text in rows.columns["contributions"]]
    assert contributions == [prediction["contributions"] for prediction in expected]


def test_an_empty_batch_has_no_rows(released: ServedModel) -> None:
    assert len(score_changes([], released, consumed_ms=1, clock=lambda: 2)) == 0


@pytest.mark.parametrize("ids", [[], [7], [7, 8, 7], list(range(10**17, 10**17 + 2000))])
def test_notifications_name_each_patient_once_and_fit_postgresql(ids: list[int]) -> None:
    payloads = list(notification_payloads(ids))
    notified = [patient_id for payload in payloads for patient_id in json.loads(payload)]
    assert notified == list(dict.fromkeys(ids))
    assert all(len(payload) <= 7000 for payload in payloads)
    assert len(payloads) == -(-len(set(ids)) * 19 // 7000)
