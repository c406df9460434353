"""The stream's messages: a Debezium change of `public.diabetes_new`, what Flink makes of it.

Messages are JSON unless said otherwise. Topics of patients are keyed as Debezium keys them, by
`{"id": 1}`: what happens to one patient stays in one partition, in order.
"""

from dataclasses import dataclass

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.tables import DIABETES_NEW

CDC_TOPIC = "diabetes_cdc.public.diabetes_new"
SINK_TOPIC = "diabetes_out.public.sink_diabetes"
REJECTED_TOPIC = "diabetes_out.public.rejected_diabetes"
WINDOWED_TOPIC = "diabetes_out.public.windowed_diabetes"


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


DIABETES_NEW_CHANGED = ChangeEvent(
    topic=CDC_TOPIC,
    key=DIABETES_NEW.key,
    operations={"c": "create", "u": "update", "d": "delete", "r": "snapshot read"},
    envelope_keys=("before", "after", "source", "op", "ts_ms"),
    source_keys=("lsn", "ts_ms", "table", "snapshot"),
    image_keys=DIABETES_NEW.column_names,
    required_image_keys=(*DIABETES_NEW.key, *FEATURE_NAMES),
)

STAMPS = ("changed_ms", "captured_ms", "judged_ms")
"""Milliseconds since 1970 (UTC): commit of the change, its capture by Debezium, Flink's verdict."""

SINK_KEYS: tuple[str, ...] = (*DIABETES_NEW_CHANGED.image_keys, "op", "lsn", *STAMPS)
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

PREDICTED_CHANNEL = "predicted"
"""Where PostgreSQL tells (NOTIFY) which patients got a prediction: a JSON list of intake ids."""
