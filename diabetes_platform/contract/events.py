"""The stream's messages: a Debezium change of `public.diabetes_new`, what Flink makes of it.

Messages are JSON unless said otherwise. Topics of patients are keyed as Debezium keys them, by
`{"id": 1}`: what happens to one patient stays in one partition, in order.
"""

from dataclasses import dataclass

from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW

CDC_TOPIC = "diabetes_cdc.public.diabetes_new"
SINK_TOPIC = "diabetes_out.public.sink_diabetes"
REJECTED_TOPIC = "diabetes_out.public.rejected_diabetes"
WINDOWED_TOPIC = "diabetes_out.public.windowed_diabetes"
HEARTBEAT_TOPIC = "__debezium-heartbeat.diabetes_cdc"
"""Debezium's sign of life while nothing changes: `{"ts_ms": …}`."""
STREAM_JOB = "patients"
"""The name by which Flink's job is found on a cluster."""
CONNECTOR = "diabetes-cdc"
"""The name by which Debezium's connector is found in Kafka Connect."""
PREDICTOR_GROUP = "predictor"
"""The predictor's consumer group: its committed offsets say what was answered."""


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """What a change event must carry; `operations` maps Debezium's codes to their names."""

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
    # An event from before a later field's column existed lacks its key.
    required_image_keys=(
        *DIABETES_NEW.key,
        *(field.name for field in FEATURES if field.original),
    ),
)

TIMESTAMP_KEYS = ("changed_ms", "captured_ms", "judged_ms")
"""Milliseconds since 1970 (UTC): commit of the change, its capture by Debezium, Flink's verdict."""

SINK_KEYS: tuple[str, ...] = (*DIABETES_NEW_CHANGED.image_keys, "op", "lsn", *TIMESTAMP_KEYS)
"""A message of the sink topic: a patient's newest valid image, flat. A tombstone says: deleted."""


@dataclass(frozen=True, slots=True)
class DeadLetterHeaders:
    """The headers of a rejected message, whose key and value are the original bytes.

    `reasons` is a JSON list of all reasons, each written `field:code`; `topic`, `partition` and
    `offset` say in text where the original lies; `rejected_ms` when it was rejected.
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

    `events` = accepted + deleted + rejected + late. A late one is counted in the window that was
    open when it came; means and shares of missing values are of the accepted ones, null where
    none is.
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
    """Return the key of the mean of a measurement's values in a window, in its unit."""
    return f"{feature}_mean"


def missing_share_name(feature: str) -> str:
    """Return the key of the share of a window's patients without this measurement, 0 to 1."""
    return f"{feature}_missing_share"


WINDOW_KEYS = WindowKeys()

PREDICTED_CHANNEL = "predicted"
"""Where PostgreSQL tells (NOTIFY) which patients got a prediction: a JSON list of intake ids."""
