"""Stored predictions of a model, and those from before the outcome was confirmed."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from diabetes_platform.warehouse.predictions import (
    probabilities_before_outcome,
    read_predictions,
)

pytestmark = pytest.mark.integration
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def store(url: str, *predictions: tuple[int, float, int], version: str = "a") -> None:
    """Store patient, probability and minutes from noon to the score; the lsn is 100 + minutes."""
    with psycopg.connect(url) as connection:
        for patient, probability, minutes in predictions:
            connection.execute(
                "INSERT INTO serving.predictions (intake_id, source_lsn, model_version, "
                "probability, result, contributions, changed_at, captured_at, consumed_at, "
                "scored_at, stored_at, judged_at) "
                "VALUES (%s, %s, %s, %s, 'Normal', '{}', %s, %s, %s, %s, %s, %s)",
                [
                    *(patient, 100 + minutes, version, probability),
                    *[NOON + timedelta(minutes=minutes)] * 6,
                ],
            )


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        pytest.param([(1, 0.2, -5)], {1: 0.2}, id="before the outcome"),
        pytest.param([(1, 0.2, 5)], {}, id="after the outcome"),
        pytest.param([(1, 0.2, 0)], {}, id="at the same time"),
        pytest.param([(1, 0.3, -1), (1, 0.2, -5)], {1: 0.3}, id="the newest of both"),
        pytest.param([(1, 0.2, -5), (1, 0.9, 1)], {1: 0.2}, id="before and after"),
        pytest.param([(2, 0.2, -5)], {}, id="no outcome"),
        pytest.param([(1, 0.2, -5), (3, 0.3, -5)], {1: 0.2, 3: 0.3}, id="two patients"),
        pytest.param([(1, 0.2, -61)], {}, id="an earlier patient with this id"),
        pytest.param([(1, 0.2, -60)], {1: 0.2}, id="when the patient was received"),
    ],
)
def test_returns_the_newest_probability_from_before_the_outcome(
    warehouse: str, predictions: list[tuple[int, float, int]], expected: dict[int, float]
) -> None:
    store(warehouse, *predictions)
    store(warehouse, (1, 0.8, -2), version="b")
    # Commit times have milliseconds only.
    received = NOON - timedelta(hours=1) + timedelta(microseconds=999)
    times = {1: (received, NOON), 3: (received, NOON)}
    assert probabilities_before_outcome(warehouse, "a", times) == expected
    assert probabilities_before_outcome(warehouse, "a", {}) == {}


def test_reads_the_predictions_of_one_model_for_some_patients(warehouse: str) -> None:
    store(warehouse, (1, 0.1, 0), (2, 0.3, 0))
    store(warehouse, (1, 0.2, 0), version="b")
    assert read_predictions(warehouse, "a", [1]) == {(1, 100): 0.1}
    assert read_predictions(warehouse, "a", [1, 2, 3]) == {(1, 100): 0.1, (2, 100): 0.3}
    assert read_predictions(warehouse, "a", []) == {}
