"""The graph as functions of its source: the verdicts, and the tables derived from them.

Each part has its own table environment, so that a graph may gain, lose or change one part without
the others.
"""

from collections.abc import Sequence
from dataclasses import asdict

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import Schema, StreamTableEnvironment, Table
from pyflink.table.udf import udf

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.topics import (
    DEAD_LETTER_HEADERS,
    WINDOW_KEYS,
    mean_name,
    missing_share_name,
)
from flink.patients.event_time import WindowOptions
from flink.patients.functions import VERDICT_TYPE, ClassifyMessage
from flink.patients.messages import ACCEPTED, DELETED, LATE, NOT_COUNTED, REJECTED
from flink.pyflink_internals import row_data_stream

STATE_RETENTION = "1 d"
"""How long a patient's newest lsn stays in state after the last change."""


def classified(
    messages: Table, tables: StreamTableEnvironment, windows: WindowOptions
) -> DataStream:
    """Return `messages` in Kafka's order with their `verdict`, as rows in Flink's own format.

    `messages` has key, value, topic, partition and offset.
    """
    tables.create_temporary_system_function(
        "classify", udf(ClassifyMessage(windows), result_type=VERDICT_TYPE, deterministic=False)
    )
    tables.create_temporary_view("unclassified", messages)
    verdicts = tables.sql_query("""
        SELECT `key`, `value`, `topic`, `partition`, `offset`,
            classify(`key`, `value`, `topic`, `partition`) AS verdict
        FROM unclassified
    """)
    return row_data_stream(verdicts, tables)


def table_environment(environment: StreamExecutionEnvironment) -> StreamTableEnvironment:
    """Return an environment for one part of the graph."""
    tables = StreamTableEnvironment.create(environment)
    settings = {
        "table.exec.simplify-operator-name-enabled": "true",
        "table.local-time-zone": "UTC",
        # Query and sink have the same key, and the exchange keeps the order of one patient.
        "table.exec.sink.upsert-materialize": "NONE",
    }
    for name, value in settings.items():
        tables.get_config().set(name, value)
    return tables


def newest_images(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return `id` and the newest `image` by lsn, NULL for a deleted patient; updated by `id`.

    Repeated messages, and images older than the newest, change nothing.
    """
    tables.get_config().set("table.exec.state.ttl", STATE_RETENTION)
    tables.create_temporary_view("changes", _columns(verdicts, tables, "id", "lsn", "image"))
    return tables.sql_query("""
        SELECT id, image FROM (
            SELECT id, image, ROW_NUMBER() OVER (PARTITION BY id ORDER BY lsn DESC) AS newest
            FROM changes WHERE id IS NOT NULL
        ) WHERE newest = 1
    """)


def dead_letters(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return `key` and `value` of rejected messages unchanged, and `headers` by name."""
    tables.create_temporary_view(
        "rejections", _columns(verdicts, tables, "kind", "reasons", "rejected_ms")
    )
    headers = ", ".join(
        f"'{name}', CAST(CAST(`{column}` AS STRING) AS BYTES)"
        for column, name in asdict(DEAD_LETTER_HEADERS).items()
    )
    return tables.sql_query(
        f"SELECT `key`, `value`, MAP[{headers}] AS headers "  # noqa: S608 - the contract's names
        f"FROM rejections WHERE kind = '{REJECTED}'"
    )


def of_kinds(verdicts: DataStream, tables: StreamTableEnvironment, kinds: Sequence[str]) -> Table:
    """Return the `kind` of each message of these kinds."""
    tables.create_temporary_view("kinds", _columns(verdicts, tables, "kind"))
    return tables.sql_query(f"SELECT kind FROM kinds WHERE kind IN ({_quoted(kinds)})")  # noqa: S608 - the job's names


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def windowed(verdicts: DataStream, tables: StreamTableEnvironment, windows: WindowOptions) -> Table:
    """Return counts, means and shares of missing values of each window of event time."""
    schema = (
        _schema("kind", "event_ms", "features")
        .column_by_expression("event_time", "TO_TIMESTAMP_LTZ(verdict.event_ms, 3)")
        # After Flink's watermark t, no row at t may follow; after the job's watermark t, it may.
        .watermark("event_time", "TO_TIMESTAMP_LTZ(verdict.watermark_ms - 1, 3)")
        .build()
    )
    tables.create_temporary_view("timed", tables.from_data_stream(verdicts, schema))
    return tables.sql_query(_windows_query(windows.length_ms))


def _windows_query(length_ms: int) -> str:
    start = f"(MIN(event_ms) / {length_ms}) * {length_ms}"
    columns = {WINDOW_KEYS.start: start, WINDOW_KEYS.end: f"{start} + {length_ms}"}
    events = f"COUNT(*) FILTER (WHERE kind NOT IN ({_quoted(NOT_COUNTED)}))"
    columns[WINDOW_KEYS.events] = events
    kinds = {
        WINDOW_KEYS.accepted: ACCEPTED,
        WINDOW_KEYS.deleted: DELETED,
        WINDOW_KEYS.rejected: REJECTED,
        WINDOW_KEYS.late: LATE,
    }
    for name, kind in kinds.items():
        columns[name] = f"COUNT(*) FILTER (WHERE kind = '{kind}')"
    accepted = f"FILTER (WHERE kind = '{ACCEPTED}')"
    for position, feature in enumerate(FEATURE_NAMES, 1):
        columns[mean_name(feature)] = f"AVG(features[{position}]) {accepted}"
    for position, feature in enumerate(FEATURE_NAMES, 1):
        missing = f"CASE WHEN features[{position}] IS NULL THEN 1.0E0 ELSE 0.0E0 END"
        columns[missing_share_name(feature)] = f"AVG({missing}) {accepted}"
    selected = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    seconds = f"INTERVAL '{length_ms / 1000:.3f}' SECOND(9, 3)"
    return (
        f"SELECT {selected} "  # noqa: S608 - the contract's names
        f"FROM TUMBLE(TABLE timed, DESCRIPTOR(event_time), {seconds}) "
        f"GROUP BY window_start, window_end HAVING {events} > 0"
    )


def _columns(verdicts: DataStream, tables: StreamTableEnvironment, *names: str) -> Table:
    """Return these columns of the verdicts."""
    return tables.from_data_stream(verdicts, _schema(*names).build())


def _schema(*names: str) -> Schema.Builder:
    schema = Schema.new_builder()
    for name in names:
        schema = schema.column_by_expression(name, f"verdict.{name}")
    return schema
