"""The lake's tables of the stream's other topics: dead letters and windows.

A row is one message, with its topic, partition and offset as key. If Flink writes a message twice
after a failure, it is stored twice.
"""

from diabetes_platform.contract.events import WINDOW_KEYS, mean_name, missing_share_name
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import REASONS, STREAM_PATIENTS, Column, Table

_DAY, _TOPIC_ID, _PARTITION, _OFFSET, _WRITTEN_AT = (
    column
    for column in STREAM_PATIENTS.columns
    if column.name in {"day", "topic_id", "kafka_partition", "kafka_offset", "written_at"}
)
TOPIC_PARTITION_OFFSET = (_TOPIC_ID, _PARTITION, _OFFSET)
"""The key of a message."""
_KEY = tuple(column.name for column in TOPIC_PARTITION_OFFSET)

STREAM_REJECTED = Table(
    "stream/rejected",
    "Every dead letter of the stream with all its reasons. Holds patients' values. Append-only.",
    (
        _DAY,
        *TOPIC_PARTITION_OFFSET,
        _WRITTEN_AT,
        Column(
            REASONS.name,
            REASONS.type,
            False,
            "All reasons, `field:code`; `reasons:missing` if the message has none.",
        ),
        Column(
            "source_topic", "text", True, "Topic of the original; NULL if the header is missing."
        ),
        Column("source_partition", "integer", True, "Partition of the original."),
        Column("source_offset", "bigint", True, "Offset of the original in its partition."),
        Column("rejected_at", "timestamp", True, "When it was rejected (UTC)."),
        # Last, so that the Delta log has no statistics of their values.
        Column("message_key", "bytes", True, "Key of the original, unchanged."),
        Column("message_value", "bytes", True, "The original's bytes: patients' values."),
    ),
    _KEY,
)

_UNITS = {field.name: "" if field.unit == "1" else f" [{field.unit}]" for field in FEATURES}

STREAM_WINDOWS = Table(
    "stream/windows",
    "Counts and means of windows of event time: no patient in them. Append-only.",
    (
        _DAY,
        *TOPIC_PARTITION_OFFSET,
        _WRITTEN_AT,
        Column("window_start", "timestamp", False, "Event time at which it begins (UTC)."),
        Column("window_end", "timestamp", False, "Event time before which it ends (UTC)."),
        Column(WINDOW_KEYS.events, "bigint", False, "Messages: the sum of the other counts."),
        Column(WINDOW_KEYS.accepted, "bigint", False, "Accepted images."),
        Column(WINDOW_KEYS.deleted, "bigint", False, "Deletions."),
        Column(WINDOW_KEYS.rejected, "bigint", False, "Messages that were rejected."),
        Column(WINDOW_KEYS.late, "bigint", False, "Messages whose own window had closed."),
        *(
            Column(
                mean_name(field.name),
                "number",
                True,
                f"{field.label}, mean of the accepted{_UNITS[field.name]}; NULL without any.",
            )
            for field in FEATURES
        ),
        *(
            Column(
                missing_share_name(field.name),
                "number",
                True,
                f"{field.label}, share of the accepted without it, 0 to 1.",
            )
            for field in FEATURES
        ),
    ),
    _KEY,
)
