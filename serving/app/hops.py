"""How long each step from the page to the stored answer took. Pure functions of the stamps."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from diabetes_platform.contract.latency import DATABASE, STORED_STAGES, TOTAL, LatencyStage
from serving.app.patient_models import Hop

HOPS = (DATABASE, *STORED_STAGES)

_STAMP_CUT = timedelta(milliseconds=1)


def hops(row: Mapping[str, Any]) -> list[Hop]:
    """Return the hops of a prediction joined with its intake row, in order."""
    stamps = {**row, "entered_at": _entered_at(row)}
    return [Hop(name=hop.name, milliseconds=_between(stamps, hop)) for hop in HOPS]


def total(row: Mapping[str, Any]) -> float:
    """Return the milliseconds from the change's commit to the stored answer."""
    return _between(row, TOTAL) or 0.0


def _entered_at(row: Mapping[str, Any]) -> datetime:
    """Return when the request came that made this change: the intake, or the outcome later."""
    received: datetime = row["received_at"]
    recorded: datetime | None = row["outcome_recorded_at"]
    # The commit's stamp is cut to milliseconds, so it may seem to be before its own request.
    if recorded is None or recorded - row["changed_at"] >= _STAMP_CUT:
        return received
    return recorded


def _between(stamps: Mapping[str, Any], hop: LatencyStage) -> float | None:
    first: datetime | None = stamps.get(hop.start)
    last: datetime | None = stamps.get(hop.end)
    if first is None or last is None:
        return None
    # Stamps of different processes, some cut to milliseconds: a hop never ends before its start.
    return max(0.0, round((last - first) / timedelta(milliseconds=1), 3))
