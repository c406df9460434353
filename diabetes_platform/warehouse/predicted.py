"""What a model said of patients of the intake, as stored in `serving.predictions`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg


@dataclass(frozen=True, slots=True)
class Predicted:
    """The probability (0 to 1) that a model gave a change of a patient, and when (UTC)."""

    intake_id: int
    source_lsn: int
    probability: float
    scored_at: datetime


def read_predicted(url: str, model_version: str, ids: Iterable[int]) -> list[Predicted]:
    """Return what `model_version` said of these patients, oldest first; psycopg.Error passes."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT intake_id, source_lsn, probability, scored_at FROM serving.predictions "
            "WHERE model_version = %s AND intake_id = ANY(%s) ORDER BY scored_at, source_lsn",
            [model_version, list(ids)],
        ).fetchall()
    return [Predicted(*row) for row in rows]


def foretold(predicted: Iterable[Predicted], confirmed: Mapping[int, datetime]) -> dict[int, float]:
    """Return by patient the newest probability from before the outcome was confirmed.

    What was scored afterwards may come from a model that has learned from this very outcome.
    """
    ordered = sorted(predicted, key=lambda one: (one.scored_at, one.source_lsn))
    return {
        one.intake_id: one.probability
        for one in ordered
        if one.intake_id in confirmed and one.scored_at < confirmed[one.intake_id]
    }
