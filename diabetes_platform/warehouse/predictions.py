"""The predictions of live patients, as stored in `serving.predictions`."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from diabetes_platform.warehouse.connection import connected

SECONDS = 300.0
"""Reads of many patients are allowed this time."""


def read_predictions(
    url: str, model_version: str, ids: Iterable[int]
) -> dict[tuple[int, int], float]:
    """Return one model's probabilities (0 to 1) for these patients, by patient id and change (lsn).

    Raises psycopg.Error.
    """
    with connected(url, SECONDS) as connection:
        rows = connection.execute(
            "SELECT intake_id, source_lsn, probability FROM serving.predictions "
            "WHERE model_version = %s AND intake_id = ANY(%s)",
            [model_version, list(ids)],
        )
        return {(intake_id, lsn): probability for intake_id, lsn, probability in rows}


def probabilities_before_outcome(
    url: str, model_version: str, times: Mapping[int, tuple[datetime, datetime]]
) -> dict[int, float]:
    """Return each patient's newest probability from before the outcome was confirmed.

    `times` has the receipt and the confirmation by patient: a prediction from before the receipt
    belongs to an earlier patient with this id, and a later score may come from a model that was
    trained on this outcome. Raises psycopg.Error.
    """
    received_at, confirmed_at = zip(*times.values(), strict=True) if times else ((), ())
    with connected(url, SECONDS) as connection:
        rows = connection.execute(
            "SELECT DISTINCT ON (intake_id) intake_id, probability FROM serving.predictions "
            "JOIN unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) "
            "AS patient (id, received_at, confirmed_at) "
            "ON intake_id = patient.id AND scored_at < confirmed_at "
            "AND changed_at >= date_trunc('milliseconds', received_at) "
            "WHERE model_version = %s ORDER BY intake_id, scored_at DESC, source_lsn DESC",
            [list(times), list(received_at), list(confirmed_at), model_version],
        )
        return dict(rows.fetchall())
