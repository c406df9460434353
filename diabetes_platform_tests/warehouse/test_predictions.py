"""Stored predictions of a model, and those from before the outcome was confirmed."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform.warehouse.predictions import (
    StoredPrediction,
    probabilities_before_outcome,
    read_predictions,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def predicted_at(patient: int, probability: float, minutes: int) -> StoredPrediction:
    return StoredPrediction(patient, 100 + minutes, probability, NOON + timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        pytest.param([predicted_at(1, 0.2, -5)], {1: 0.2}, id="before the outcome"),
        pytest.param([predicted_at(1, 0.2, 5)], {}, id="after the outcome"),
        pytest.param(
            [predicted_at(1, 0.3, -1), predicted_at(1, 0.2, -5)], {1: 0.3}, id="the newest of both"
        ),
        pytest.param(
            [predicted_at(1, 0.2, -5), predicted_at(1, 0.9, 1)], {1: 0.2}, id="before and after"
        ),
        pytest.param([predicted_at(2, 0.2, -5)], {}, id="no outcome"),
    ],
)
def test_keeps_the_newest_probability_from_before_the_outcome(
    predictions: list[StoredPrediction], expected: dict[int, float]
) -> None:
    assert probabilities_before_outcome(predictions, {1: NOON}) == expected


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
    assert read_predictions(database_url, "a", [1]) == [StoredPrediction(1, 7, 0.1, NOON)]
    assert len(read_predictions(database_url, "a", [1, 2, 3])) == 2
    assert read_predictions(database_url, "a", []) == []
