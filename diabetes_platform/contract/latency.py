"""The stages of a change's latency, from its commit to its stored prediction.

`start` and `end` name columns of `serving.predictions`, with two exceptions: only the API knows
`entered_at` (the request arrived), and only the predictor knows `produced_at` (Kafka's timestamp
of the message in the sink topic).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatencyStage:
    """The time between two timestamps."""

    name: str
    description: str
    start: str
    end: str


DATABASE = LatencyStage("database", "request → commit", "entered_at", "changed_at")
CAPTURE = LatencyStage("capture", "commit → Debezium", "changed_at", "captured_at")
CHECK = LatencyStage("check", "Debezium → Flink's verdict", "captured_at", "judged_at")
MERGE = LatencyStage("merge", "verdict → sink topic", "judged_at", "produced_at")
FETCH = LatencyStage("fetch", "sink topic → predictor", "produced_at", "consumed_at")
DELIVERY = LatencyStage("delivery", "verdict → predictor", "judged_at", "consumed_at")
SCORE = LatencyStage("score", "predictor → model's answer", "consumed_at", "scored_at")
STORE = LatencyStage("store", "answer → stored row", "scored_at", "stored_at")
TOTAL = LatencyStage("total", "commit → stored row", "changed_at", "stored_at")

STORED_STAGES = (CAPTURE, CHECK, DELIVERY, SCORE, STORE)
"""The stages between the timestamps of a stored prediction, without a gap."""
LIVE_STAGES = (CAPTURE, CHECK, MERGE, FETCH, SCORE, STORE)
"""The stages that the predictor observes; it splits delivery into merge and fetch."""
