"""The tables of patient records: names, columns and keys, which every engine renders."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from diabetes_platform.contract.fields import FEATURES, FIELDS, OUTCOME, Field
from diabetes_platform.contract.topics import WINDOW_KEYS, mean_name, missing_share_name

ColumnType = Literal["text", "integer", "bigint", "number", "timestamp", "text[]", "json", "bytes"]
_CONTENT_HASH = re.compile(r"[0-9a-f]{64}")
INTAKE_PREFIX = "intake-"
"""The prefix of the intake id in the record id of a row from the stream."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; each engine renders `type` as its own."""

    name: str
    type: ColumnType
    nullable: bool
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the lake (`raw/patients`) or of the warehouse (`staging.patients`)."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names in their stored order."""
        return tuple(column.name for column in self.columns)


def batch_id_of(content_hash: str) -> str:
    """Return the batch id, the first 12 hex digits; ValueError for anything but a SHA-256."""
    if not _CONTENT_HASH.fullmatch(content_hash):
        raise ValueError(f"content hash is {content_hash!r}; allowed: 64 hex digits")
    return content_hash[:12]


def batch_content_hash(raw_hash: str, labels_hash: str | None) -> str:
    """Return the content hash of a batch, from those of its source and of its labels.

    Without labels (None) it is the source's own. ValueError for anything but a SHA-256.
    """
    hashes = [content_hash for content_hash in (raw_hash, labels_hash) if content_hash is not None]
    for content_hash in hashes:
        batch_id_of(content_hash)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest() if labels_hash else raw_hash


def intake_id_of(record_id: str) -> int | None:
    """Return the intake id of a record from the stream; None for a record of a source file."""
    _, _, origin = record_id.partition("-")
    intake = origin.removeprefix(INTAKE_PREFIX)
    return int(intake) if intake != origin and intake.isdecimal() else None


def filled_name(field: Field) -> str:
    """Name the column that holds `field` with its missing values filled."""
    return f"{field.name}_filled"


def normed_name(field: Field) -> str:
    """Name the column that holds `field` filled and on the robust scale."""
    return f"{field.name}_normed"


def _unit(field: Field) -> str:
    return "" if field.unit == "1" else f" [{field.unit}]"


def _measured(field: Field) -> Column:
    description = f"{field.description}{_unit(field)}"
    return Column(field.name, field.kind, not field.required, description)


def _optional(columns: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(replace(column, nullable=True) for column in columns)


RECORD_ID = Column("record_id", "text", False, "Batch id, `-`, and source line or `intake-<id>`.")
BATCH_ID = Column("batch_id", "text", False, "First 12 hex digits of the batch's content hash.")
SOURCE = Column("source", "text", False, "Path or URL of the source, or `stream/patients`.")
SOURCE_LINE = Column(
    "source_line", "bigint", False, "CSV line (header: 1), Parquet row + 1, or intake id."
)
AS_RECEIVED = tuple(Column(f.name, "text", True, f"{f.label} as received.") for f in FIELDS)
MEASURED = tuple(_measured(field) for field in FEATURES)
OUTCOME_COLUMN = _measured(OUTCOME)
FILLED = tuple(
    Column(filled_name(f), "number", not f.original, f"{f.label}, missing filled by the median.")
    for f in FEATURES
    if not f.required
)
NORMED = tuple(
    Column(normed_name(f), "number", not f.original, f"({f.label} - median) / (q3 - q1).")
    for f in FEATURES
)
REASONS = Column("reasons", "text[]", False, "All reasons to reject the row; empty: accepted.")

RAW_PATIENTS = Table(
    "raw/patients",
    "Append-only table of every batch, each value kept as received.",
    (
        SOURCE_LINE,
        *AS_RECEIVED,
        Column("content_hash", "text", False, "SHA-256 of the source's bytes."),
        SOURCE,
        Column("received_at", "timestamp", False, "When the platform read the source (UTC)."),
    ),
    ("content_hash", "source_line"),
)

STATISTICS_PATIENTS = Table(
    "statistics/patients",
    "Robust statistics of one batch, which fill, scale and fence its rows.",
    (
        Column("field", "text", False, "The measurement."),
        Column("count", "bigint", False, "Rows in which it has an allowed value."),
        Column("q1", "number", True, "Lower quartile, an observed value (nearest rank)."),
        Column("median", "number", True, "Median, an observed value (nearest rank)."),
        Column("q3", "number", True, "Upper quartile, an observed value (nearest rank)."),
        Column("lower_fence", "number", True, "Values below are outliers."),
        Column("upper_fence", "number", True, "Values above are outliers."),
        BATCH_ID,
    ),
    ("field",),
)

STAGING_PATIENTS = Table(
    "staging.patients",
    "One cleaned batch: a table whose rows each load replaces.",
    (RECORD_ID, *MEASURED, *FILLED, *NORMED, OUTCOME_COLUMN, SOURCE, BATCH_ID),
    ("record_id",),
)

CLEANED_PATIENTS = Table(
    "cleaned/patients",
    "Every row of one batch as received, parsed, filled and scaled, with verdict and reasons.",
    (
        RECORD_ID,
        SOURCE_LINE,
        *(replace(column, name=f"{column.name}_received") for column in AS_RECEIVED),
        *_optional((*MEASURED, OUTCOME_COLUMN, *FILLED, *NORMED)),
        SOURCE,
        BATCH_ID,
        REASONS,
        Column("verdict", "text", False, "`accepted` or `rejected`."),
    ),
    ("record_id",),
)

QUARANTINE_PATIENTS = Table(
    "quarantine/patients",
    "Rejected rows as received, with all their reasons.",
    (RECORD_ID, SOURCE_LINE, *AS_RECEIVED, SOURCE, BATCH_ID, REASONS),
    ("record_id",),
)

SERVING_PATIENTS = replace(
    STAGING_PATIENTS,
    name="serving.patients",
    description="The promoted version of the staging table.",
)

TRAINING_SET = Table(
    "features/training_set",
    "Labelled rows of the promoted version: measurements with NULL where missing.",
    (RECORD_ID, *MEASURED, replace(OUTCOME_COLUMN, nullable=False), SOURCE, BATCH_ID),
    ("record_id",),
)

DIABETES_NEW = Table(
    "public.diabetes_new",
    "Intake: patients entered on the page; the table that change data capture watches.",
    (
        Column("id", "bigint", False, "Identity of the intake."),
        Column("received_at", "timestamp", False, "When the intake was stored (UTC)."),
        *MEASURED,
        OUTCOME_COLUMN,
        Column("outcome_recorded_at", "timestamp", True, "When the outcome was confirmed (UTC)."),
    ),
    ("id",),
)

PREDICTIONS = Table(
    "serving.predictions",
    "A model's prediction for one change of an intake row. Never a label.",
    (
        Column("intake_id", "bigint", False, "Identity of the intake."),
        Column("source_lsn", "bigint", False, "Log sequence number of the change."),
        Column("model_version", "text", False, "The model that made the prediction."),
        Column("probability", "number", False, "Probability of diabetes, 0 to 1."),
        Column("result", "text", False, "The label at the model's threshold."),
        Column("contributions", "json", False, "`bias`, and `features` by name [log-odds]."),
        Column("changed_at", "timestamp", False, "When the change was committed (UTC)."),
        Column("captured_at", "timestamp", False, "When change data capture read it (UTC)."),
        Column("consumed_at", "timestamp", False, "When the predictor received it (UTC)."),
        Column("scored_at", "timestamp", False, "When the model had scored it (UTC)."),
        Column("stored_at", "timestamp", False, "When this row was written (UTC)."),
        Column("judged_at", "timestamp", False, "When Flink had validated the change (UTC)."),
        Column("image_digest", "text", True, "Hash of the row's values; NULL in older rows."),
    ),
    ("intake_id", "source_lsn", "model_version"),
)

DAY = Column("day", "text", False, "Day (UTC) in which the message was written to the topic.")
TOPIC_PARTITION_OFFSET = (
    Column("topic_id", "text", False, "Kafka's id of the topic; a recreated topic has another."),
    Column("kafka_partition", "integer", False, "The message's partition of the topic."),
    Column("kafka_offset", "bigint", False, "The message's offset in its partition."),
)
"""The position of a message, which identifies it."""
WRITTEN_AT = Column("written_at", "timestamp", False, "When the message was written (UTC).")

STREAM_PATIENTS = Table(
    "stream/patients",
    "Every valid change of an intake row, deletions included. Append-only.",
    (
        Column("change_id", "text", False, "`<id>-<lsn>`, or `<id>-deleted-<position>`."),
        DAY,
        DIABETES_NEW.columns[0],
        Column("op", "text", False, "`c` created, `u` updated, `r` in a snapshot, `d` deleted."),
        Column("lsn", "bigint", True, "Log sequence number of the change; NULL for a deletion."),
        *TOPIC_PARTITION_OFFSET,
        WRITTEN_AT,
        Column("changed_at", "timestamp", True, "When the change was committed (UTC)."),
        Column("captured_at", "timestamp", True, "When change data capture read it (UTC)."),
        Column("judged_at", "timestamp", True, "When Flink had validated the change (UTC)."),
        # A deletion has no image.
        *_optional(DIABETES_NEW.columns[1:]),
    ),
    ("change_id",),
)

LABELLED_PATIENTS = Table(
    "labels/patients",
    "Patients of the stream with a confirmed outcome: the newest image of each, values as text.",
    (
        DIABETES_NEW.columns[0],
        *(replace(column, nullable=column.name != OUTCOME.name) for column in AS_RECEIVED),
        # Flink does not require these two columns, and a label does not need them.
        *_optional(column for column in DIABETES_NEW.columns if column.type == "timestamp"),
        STREAM_PATIENTS.columns[0],
    ),
    ("id",),
)

SHADOW_SCORES = Table(
    "model/shadow",
    "Predictions of champion and challenger for the same live patients. Never a label.",
    (
        PREDICTIONS.columns[0],
        Column("lsn", "bigint", True, "Log sequence number of the change."),
        Column("champion_version", "text", False, "The model that is released."),
        Column("champion_probability", "number", False, "Its probability of diabetes, 0 to 1."),
        Column("challenger_version", "text", False, "The candidate that passed its gate."),
        Column("challenger_probability", "number", False, "Its probability of diabetes, 0 to 1."),
    ),
    ("intake_id",),
)

STREAM_REJECTED = Table(
    "stream/rejected",
    "Every dead letter of the stream with all its reasons. Holds patients' values. Append-only.",
    (
        DAY,
        *TOPIC_PARTITION_OFFSET,
        WRITTEN_AT,
        replace(REASONS, description="All reasons, `field:code`; without any `reasons:missing`."),
        Column("source_topic", "text", True, "Topic of the original; NULL without the header."),
        Column("source_partition", "integer", True, "Partition of the original."),
        Column("source_offset", "bigint", True, "Offset of the original in its partition."),
        Column("rejected_at", "timestamp", True, "When it was rejected (UTC)."),
        # Last, so that the Delta log has no statistics of their values.
        Column("message_key", "bytes", True, "Key of the original, unchanged."),
        Column("message_value", "bytes", True, "The original's bytes: patients' values."),
    ),
    tuple(column.name for column in TOPIC_PARTITION_OFFSET),
)

STREAM_WINDOWS = Table(
    "stream/windows",
    "Counts and means of windows of event time: no patient in them. Append-only.",
    (
        DAY,
        *TOPIC_PARTITION_OFFSET,
        WRITTEN_AT,
        Column("window_start", "timestamp", False, "Event time at which it begins (UTC)."),
        Column("window_end", "timestamp", False, "Event time before which it ends (UTC)."),
        Column(WINDOW_KEYS.events, "bigint", False, "Messages: the sum of the other counts."),
        Column(WINDOW_KEYS.accepted, "bigint", False, "Accepted images."),
        Column(WINDOW_KEYS.deleted, "bigint", False, "Deletions."),
        Column(WINDOW_KEYS.rejected, "bigint", False, "Messages that were rejected."),
        Column(WINDOW_KEYS.late, "bigint", False, "Messages whose own window had closed."),
        *(
            Column(mean_name(f.name), "number", True, f"{f.label}, mean of the accepted{_unit(f)}.")
            for f in FEATURES
        ),
        *(
            Column(missing_share_name(f.name), "number", True, f"{f.label}, share missing, 0 to 1.")
            for f in FEATURES
        ),
    ),
    tuple(column.name for column in TOPIC_PARTITION_OFFSET),
)
