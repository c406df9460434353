"""The graph as a function of its source: verdicts, and three tables that are made of them.

Each table has an environment of its own, so that a graph may gain, lose or change one of them
without the others.
"""

from collections.abc import Mapping

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import Schema, StreamTableEnvironment, Table

from diabetes_platform.contract.events import (
    DEAD_LETTER_HEADERS,
    WINDOW_KEYS,
    mean_name,
    missing_share_name,
)
from diabetes_platform.contract.fields import FEATURE_NAMES
from flink.patients.functions import JUDGED, JUDGED_TYPE, Judge, Windows
from flink.patients.verdicts import ACCEPTED, DELETED, HEARTBEAT, LATE, REJECTED

KEPT = "1 d"
"""For so long after its last change a patient's newest lsn is remembered."""
_COLUMNS = {
    "kind": "STRING", "event_ms": "BIGINT", "watermark_ms": "BIGINT", "id": "BIGINT",
    "lsn": "BIGINT", "image": "BYTES", "key": "BYTES", "value": "BYTES", "reasons": "STRING",
    "topic": "STRING", "partition": "INT", "offset": "BIGINT", "rejected_ms": "BIGINT",
    **dict.fromkeys(FEATURE_NAMES, "DOUBLE"),
}  # fmt: skip


def judged(received: DataStream, windows: Windows) -> DataStream:
    """Return what is said of each message of `received` (`RECEIVED_TYPE`, in Kafka's order)."""
    verdicts: DataStream = received.process(Judge(windows), JUDGED_TYPE)
    return verdicts.name("judge").uid("judge")


def table_environment(
    environment: StreamExecutionEnvironment, options: Mapping[str, str] | None = None
) -> StreamTableEnvironment:
    """Return an environment for one part of the graph; `options` are Flink's."""
    tables = StreamTableEnvironment.create(environment)
    given = {
        "table.exec.simplify-operator-name-enabled": "true",
        "table.local-time-zone": "UTC",
        # The query's own key is the sink's, and the exchange keeps the order of one patient.
        "table.exec.sink.upsert-materialize": "NONE",
        **(options or {}),
    }
    for name, value in given.items():
        tables.get_config().set(name, value)
    return tables


def newest_images(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return `id` and the newest `image` by lsn, NULL for a deleted patient; updated by `id`.

    Messages that come again, and images older than the newest, change nothing.
    """
    tables.get_config().set("table.exec.state.ttl", KEPT)
    tables.create_temporary_view("changes", tables.from_data_stream(verdicts, _schema().build()))
    return tables.sql_query("""
        SELECT id, image FROM (
            SELECT id, image, ROW_NUMBER() OVER (PARTITION BY id ORDER BY lsn DESC) AS place
            FROM changes WHERE id IS NOT NULL
        ) WHERE place = 1
    """)


def dead_letters(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return `key` and `value` of rejected messages as they were, and `headers` by name."""
    tables.create_temporary_view("messages", tables.from_data_stream(verdicts, _schema().build()))
    named = {
        DEAD_LETTER_HEADERS.reasons: "reasons",
        DEAD_LETTER_HEADERS.topic: "topic",
        DEAD_LETTER_HEADERS.partition: "`partition`",
        DEAD_LETTER_HEADERS.offset: "`offset`",
        DEAD_LETTER_HEADERS.rejected_ms: "rejected_ms",
    }
    headers = ", ".join(
        f"'{name}', CAST(CAST({column} AS STRING) AS BYTES)" for name, column in named.items()
    )
    return tables.sql_query(
        f"SELECT `key`, `value`, MAP[{headers}] AS headers "  # noqa: S608 - the contract's names
        f"FROM messages WHERE kind = '{REJECTED}'"
    )


def windowed(verdicts: DataStream, tables: StreamTableEnvironment, windows: Windows) -> Table:
    """Return counts, means and shares of missing values of each window of event time."""
    schema = (
        _schema()
        .column_by_expression("event_time", "TO_TIMESTAMP_LTZ(event_ms, 3)")
        # A watermark says that nothing comes at its own millisecond either.
        .watermark("event_time", "TO_TIMESTAMP_LTZ(watermark_ms - 1, 3)")
        .build()
    )
    tables.create_temporary_view("placed", tables.from_data_stream(verdicts, schema))
    return tables.sql_query(_windows_query(windows.length_ms))


def _windows_query(length_ms: int) -> str:
    start = f"(MIN(event_ms) / {length_ms}) * {length_ms}"
    columns = {WINDOW_KEYS.start: start, WINDOW_KEYS.end: f"{start} + {length_ms}"}
    events = f"COUNT(*) FILTER (WHERE kind <> '{HEARTBEAT}')"
    columns[WINDOW_KEYS.events] = events
    counted = {
        WINDOW_KEYS.accepted: ACCEPTED,
        WINDOW_KEYS.deleted: DELETED,
        WINDOW_KEYS.rejected: REJECTED,
        WINDOW_KEYS.late: LATE,
    }
    for name, kind in counted.items():
        columns[name] = f"COUNT(*) FILTER (WHERE kind = '{kind}')"
    for feature in FEATURE_NAMES:
        columns[mean_name(feature)] = f"AVG({feature}) FILTER (WHERE kind = '{ACCEPTED}')"
    for feature in FEATURE_NAMES:
        missing = f"CASE WHEN {feature} IS NULL THEN 1.0E0 ELSE 0.0E0 END"
        columns[missing_share_name(feature)] = f"AVG({missing}) FILTER (WHERE kind = '{ACCEPTED}')"
    selected = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    seconds = f"INTERVAL '{length_ms / 1000:.3f}' SECOND(9, 3)"
    return (
        f"SELECT {selected} "  # noqa: S608 - the contract's names
        f"FROM TUMBLE(TABLE placed, DESCRIPTOR(event_time), {seconds}) "
        f"GROUP BY window_start, window_end HAVING {events} > 0"
    )


def _schema() -> Schema.Builder:
    schema = Schema.new_builder()
    for name in JUDGED:
        schema = schema.column(name, _COLUMNS[name])
    return schema
