"""The way of a change from its commit to its stored prediction, in hops between stamps."""

from dataclasses import dataclass

from serving.predictor.messages import Change


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way."""

    name: str
    description: str


CAPTURE = Hop("capture", "commit of the change → Debezium")
JUDGE = Hop("judge", "Debezium → Flink's verdict")
MERGE = Hop("merge", "verdict → sink topic")
DELIVER = Hop("deliver", "sink topic → predictor")
SCORE = Hop("score", "predictor → model's answer")
STORE = Hop("store", "answer → committed row")
TOTAL = Hop("total", "commit of the change → committed row")
HOPS = (CAPTURE, JUDGE, MERGE, DELIVER, SCORE, STORE, TOTAL)


def seconds_of(
    change: Change, *, consumed_ms: float, scored_ms: float, stored_ms: float
) -> dict[str, float]:
    """Return how long each hop took, by name; negative where clocks disagree."""
    stamps = (
        change.changed_ms,
        change.captured_ms,
        change.judged_ms,
        change.produced_ms,
        consumed_ms,
        scored_ms,
        stored_ms,
    )
    names = (hop.name for hop in HOPS if hop is not TOTAL)
    took = {
        name: (end - start) / 1000
        for name, start, end in zip(names, stamps, stamps[1:], strict=False)
    }
    return took | {TOTAL.name: (stored_ms - change.changed_ms) / 1000}
