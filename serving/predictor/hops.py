"""How long a change took on each hop to its stored prediction. Pure."""

from diabetes_platform.contract.latency import LIVE_STAGES, TOTAL
from serving.predictor.messages import Change

HOPS = (*LIVE_STAGES, TOTAL)


def seconds_of(
    change: Change, *, consumed_ms: float, scored_ms: float, stored_ms: float
) -> dict[str, float]:
    """Return how long each hop took, by name; negative where clocks disagree."""
    stamps = {
        "changed_at": change.changed_ms,
        "captured_at": change.captured_ms,
        "judged_at": change.judged_ms,
        "produced_at": change.produced_ms,
        "consumed_at": consumed_ms,
        "scored_at": scored_ms,
        "stored_at": stored_ms,
    }
    return {hop.name: (stamps[hop.end] - stamps[hop.start]) / 1000 for hop in HOPS}
