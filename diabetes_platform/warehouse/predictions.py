"""The predictions of live patients, as stored in `serving.predictions`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """The probability (0 to 1) of one change of a patient, and when the model scored it (UTC)."""

    intake_id: int
    source_lsn: int
    probability: float
    scored_at: datetime


def read_predictions(url: str, model_version: str, ids: Iterable[int]) -> list[StoredPrediction]:
    """Return the predictions of these patients by one model, oldest first. Raises psycopg.Error."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT intake_id, source_lsn, probability, scored_at FROM serving.predictions "
            "WHERE model_version = %s AND intake_id = ANY(%s) ORDER BY scored_at, source_lsn",
            [model_version, list(ids)],
        ).fetchall()
    return [StoredPrediction(*row) for row in rows]


def probabilities_before_outcome(
    predictions: Iterable[StoredPrediction], confirmed: Mapping[int, datetime]
) -> dict[int, float]:
    """Return each patient's newest probability from before the outcome was confirmed.

    A later score may come from a model that was trained on this outcome.
    """
    ordered = sorted(predictions, key=lambda stored: (stored.scored_at, stored.source_lsn))
    return {
        stored.intake_id: stored.probability
        for stored in ordered
        if stored.intake_id in confirmed and stored.scored_at < confirmed[stored.intake_id]
    }
