"""The stream's topics and the keys of their messages, from Debezium's changes to Flink's windows.

Messages are JSON unless noted. Topics of patients have Debezium's keys, `{"id": 1}`: all changes of
one patient are in one partition, in order. `change_events.py` validates the messages.
"""

from dataclasses import dataclass

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW

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
PREDICTOR_GROUP = "predictor"
"""The predictor's consumer group: its committed offsets cover the scored messages."""


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """The keys of a change event; `operations` maps Debezium's codes to their names."""

    topic: str
    key: tuple[str, ...]
    operations: dict[str, str]
    envelope_keys: tuple[str, ...]
    source_keys: tuple[str, ...]
    image_keys: tuple[str, ...]
    required_image_keys: tuple[str, ...]


DELETED = "d"
"""Debezium's code of a deletion."""

DIABETES_NEW_CHANGED = ChangeEvent(
    topic=CDC_TOPIC,
    key=DIABETES_NEW.key,
    operations={"c": "create", "u": "update", DELETED: "delete", "r": "snapshot read"},
    envelope_keys=("before", "after", "source", "op", "ts_ms"),
    source_keys=("lsn", "ts_ms", "table", "snapshot"),
    image_keys=DIABETES_NEW.column_names,
    # Events from before a later field's column existed lack its key.
    required_image_keys=(
        *DIABETES_NEW.key,
        *(field.name for field in FEATURES if field.original),
    ),
)

TIMESTAMP_KEYS = ("changed_ms", "captured_ms", "judged_ms")
"""Milliseconds since 1970 (UTC): commit of the change, capture by Debezium, Flink's verdict."""

SINK_KEYS: tuple[str, ...] = (*DIABETES_NEW_CHANGED.image_keys, "op", "lsn", *TIMESTAMP_KEYS)
"""A message of the sink topic: a patient's newest valid image, flat. A tombstone is a deletion."""


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
