"""Stored predictions of a model: which of a patient's was told before the outcome was known."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform.warehouse.predicted import Predicted, foretold, read_predicted

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def told(patient: int, probability: float, minutes: int) -> Predicted:
    return Predicted(patient, 100 + minutes, probability, NOON + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("predicted", "found"),
    [
        pytest.param([told(1, 0.2, -5)], {1: 0.2}, id="told before"),
        pytest.param([told(1, 0.2, 5)], {}, id="told after: it may have learned from it"),
        pytest.param([told(1, 0.3, -1), told(1, 0.2, -5)], {1: 0.3}, id="the newest of both"),
        pytest.param([told(1, 0.2, -5), told(1, 0.9, 1)], {1: 0.2}, id="before and after"),
        pytest.param([told(2, 0.2, -5)], {}, id="no outcome"),
    ],
)
def test_only_what_was_told_before_the_outcome_counts(
    predicted: list[Predicted], found: dict[int, float]
) -> None:
    assert foretold(predicted, {1: NOON}) == found


@pytest.mark.integration
def test_predictions_of_one_model_and_some_patients_are_read(database_url: str) -> None:
    upgrade(database_url)
    with psycopg.connect(database_url) as connection:
        for patient, version, probability in ((1, "a", 0.1), (1, "b", 0.2), (2, "a", 0.3)):
            connection.execute(
                "INSERT INTO serving.predictions (intake_id, source_lsn, model_version, "
                "probability, result, contributions, changed_at, captured_at, consumed_at, "
                "scored_at, stored_at, judged_at) "
                "VALUES (%s, 7, %s, %s, 'Normal', '{}', %s, %s, %s, %s, %s, %s)",
                [patient, version, probability, *[NOON] * 6],
            )
    assert read_predicted(database_url, "a", [1]) == [Predicted(1, 7, 0.1, NOON)]
    assert len(read_predicted(database_url, "a", [1, 2, 3])) == 2
    assert read_predicted(database_url, "a", []) == []
