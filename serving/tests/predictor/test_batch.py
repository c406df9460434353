"""What is left of a batch, how it is scored, and who is told."""

import json

import pytest

from diabetes_platform.contract.tables import PREDICTIONS
from serving.app.served_model import ServedModel
from serving.predictor.batch import BatchPlan, notification_payloads, plan_batch, score_changes
from serving.predictor.messages import Change, Deleted
from serving.tests.predictor.messages import change

A1, A2, B1 = change(1, 10), change(1, 20), change(2, 15)

SETTLED = [
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


@pytest.mark.parametrize(("messages", "changes", "deleted"), SETTLED)
def test_of_each_patient_is_left_what_came_after_its_deletion(
    messages: list[Change | Deleted], changes: tuple[Change, ...], deleted: tuple[int, ...]
) -> None:
    assert plan_batch(messages) == BatchPlan(changes, deleted)


def test_a_scored_batch_has_a_list_for_each_column_that_the_predictor_writes(
    released: ServedModel,
) -> None:
    scored = score_changes([A1, B1], released, consumed_ms=1.5, clock=lambda: 2.5)
    assert set(scored.columns) == set(PREDICTIONS.column_names) - {"stored_at"}
    assert {len(values) for values in scored.columns.values()} == {2}
    assert (len(scored), scored.patient_ids, scored.scored_ms) == (2, [1, 2], 2.5)
    assert scored.columns["consumed_at"] == [1.5, 1.5]
    expected = released.predict_all([A1.patient, B1.patient], with_contributions=True)
    for name in ("probability", "result", "model_version"):
        assert scored.columns[name] == [answer[name] for answer in expected]
    contributions = [json.loads(one) for one in scored.columns["contributions"]]
    assert contributions == [answer["contributions"] for answer in expected]


def test_nothing_to_score_is_no_row(released: ServedModel) -> None:
    assert len(score_changes([], released, consumed_ms=1, clock=lambda: 2)) == 0


@pytest.mark.parametrize("ids", [[], [7], [7, 8, 7], list(range(10**17, 10**17 + 2000))])
def test_each_patient_is_told_once_in_notifications_that_postgresql_takes(ids: list[int]) -> None:
    told = list(notification_payloads(ids))
    assert [one for payload in told for one in json.loads(payload)] == list(dict.fromkeys(ids))
    assert all(len(payload) <= 7000 for payload in told)
    assert len(told) == -(-len(set(ids)) * 19 // 7000)
