"""The stream's topics and the keys of their messages, from Debezium's changes to Flink's windows.

Messages are JSON unless noted. Topics of patients have Debezium's keys, `{"id": 1}`: all changes of
one patient are in one partition, in order. `change_events.py` validates the messages.
"""

from dataclasses import dataclass
from typing import Literal

from diabetes_platform.contract.fields import FEATURE_NAMES

CDC_TOPIC = "diabetes_cdc.public.diabetes_new"
SINK_TOPIC = "diabetes_out.public.sink_diabetes"
REJECTED_TOPIC = "diabetes_out.public.rejected_diabetes"
WINDOWED_TOPIC = "diabetes_out.public.windowed_diabetes"
HEARTBEAT_TOPIC = "__debezium-heartbeat.diabetes_cdc"
"""Debezium's heartbeats, which it also sends while nothing changes: `{"ts_ms": …}`."""
STREAM_JOB = "patients"
"""The name of Flink's job on the cluster."""
CONNECTOR = "diabetes-cdc"
"""The name of Debezium's connector in Kafka Connect."""
FLINK_GROUP = "flink-patients"
"""The group in which Flink's job commits the offsets of its checkpoints."""
PREDICTOR_GROUP = "predictor"
"""The predictor's consumer group: its committed offsets cover the scored messages."""


DELETED = "d"
"""Debezium's code of a deletion."""
OPERATIONS = {"c": "create", "u": "update", DELETED: "delete", "r": "snapshot read"}
"""Debezium's codes of changes, and their names."""
REPEATING_OPERATIONS = ("u", "r")
"""Operations whose image may be the patient's present one: nothing need have changed."""
IMAGE_OPERATIONS = tuple(op for op in OPERATIONS if op != DELETED)

CAPTURE_EPOCH_KEY = "capture_epoch"
"""The key of a change event with the epoch of its log sequence number, as text; 0 if it is absent.

A new epoch begins when the connector reads another server, whose log starts again.
"""
EPOCH_UNIT = 2**44
"""A position downstream is `epoch * EPOCH_UNIT + lsn`: no server of this platform writes 16 TiB of
log."""
MAX_EPOCH = 2**19 - 1
"""Epochs are numbered by the hour, from 2026 on: this is the year 2085."""

TIMESTAMP_KEYS: tuple[Literal["changed_ms", "captured_ms", "judged_ms"], ...] = (
    "changed_ms",
    "captured_ms",
    "judged_ms",
)
"""Milliseconds since 1970 (UTC): commit of the change, capture by Debezium, Flink's verdict."""


@dataclass(frozen=True, slots=True)
class DeadLetterHeaders:
    """The headers of a rejected message, whose key and value are the original bytes.

    `reasons` is a JSON list of all reasons, each written `field:code`. `topic`, `partition` and
    `offset` give the original's position as text, `rejected_ms` the time of the rejection.
    """

    reasons: str = "reasons"
    topic: str = "topic"
    partition: str = "partition"
    offset: str = "offset"
    rejected_ms: str = "rejected_ms"


DEAD_LETTER_HEADERS = DeadLetterHeaders()


@dataclass(frozen=True, slots=True)
class WindowKeys:
    """The keys of a message of the windowed topic, whose own key is `{"window_start_ms": …}`.

    `events` = accepted + deleted + rejected + late. A late message counts in the window that was
    open at its arrival. Means and shares of missing values include the accepted messages only, and
    are null if there are none.
    """

    start: str = "window_start_ms"
    end: str = "window_end_ms"
    events: str = "events"
    accepted: str = "accepted"
    deleted: str = "deleted"
    rejected: str = "rejected"
    late: str = "late"

    @property
    def counts(self) -> tuple[str, ...]:
        """All counts, their sum first."""
        return self.events, self.accepted, self.deleted, self.rejected, self.late

    @property
    def all(self) -> tuple[str, ...]:
        """All keys, in order."""
        means = (mean_name(name) for name in FEATURE_NAMES)
        shares = (missing_share_name(name) for name in FEATURE_NAMES)
        return self.start, self.end, *self.counts, *means, *shares


def mean_name(feature: str) -> str:
    """Return the key of a measurement's mean in a window, in its unit."""
    return f"{feature}_mean"


def missing_share_name(feature: str) -> str:
    """Return the key of the share of a window's patients without this measurement, 0 to 1."""
    return f"{feature}_missing_share"


WINDOW_KEYS = WindowKeys()

PREDICTED_CHANNEL = "predicted"
"""PostgreSQL's NOTIFY channel of new predictions: a JSON list of intake ids."""
