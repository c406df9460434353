"""The way of a change from its commit to its stored prediction, in hops between stamps.

`start` and `end` are columns of `serving.predictions`, but for what is known at one place only:
`entered_at` (the request came, API) and `produced_at` (in the sink topic, predictor).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way."""

    name: str
    description: str
    start: str
    end: str


DATABASE = Hop("database", "request → commit", "entered_at", "changed_at")
CAPTURE = Hop("capture", "commit → Debezium", "changed_at", "captured_at")
CHECK = Hop("check", "Debezium → Flink's verdict", "captured_at", "judged_at")
MERGE = Hop("merge", "verdict → sink topic", "judged_at", "produced_at")
FETCH = Hop("fetch", "sink topic → predictor", "produced_at", "consumed_at")
DELIVERY = Hop("delivery", "verdict → predictor", "judged_at", "consumed_at")
SCORE = Hop("score", "predictor → model's answer", "consumed_at", "scored_at")
STORE = Hop("store", "answer → stored row", "scored_at", "stored_at")
TOTAL = Hop("total", "commit → stored row", "changed_at", "stored_at")

STORED = (CAPTURE, CHECK, DELIVERY, SCORE, STORE)
"""What the stamps of a stored prediction tell, from `changed_at` to `stored_at` without a gap."""
MEASURED = (CAPTURE, CHECK, MERGE, FETCH, SCORE, STORE)
"""What the predictor can tell while it works: delivery in its two parts."""
