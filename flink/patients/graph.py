"""The graph as a function of its source: verdicts, and what is made of them.

Each part has an environment of its own, so that a graph may gain, lose or change one of them
without the others.
"""

from collections.abc import Mapping

from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import Schema, StreamTableEnvironment, Table
from pyflink.table.udf import udf

from diabetes_platform.contract.events import (
    DEAD_LETTER_HEADERS,
    WINDOW_KEYS,
    mean_name,
    missing_share_name,
)
from diabetes_platform.contract.fields import FEATURE_NAMES
from flink.patients.event_time import Windows
from flink.patients.functions import VERDICT_TYPE, Judge
from flink.patients.verdicts import ACCEPTED, DELETED, HEARTBEAT, IGNORED, LATE, REJECTED

KEPT = "1 d"
"""For so long after its last change a patient's newest lsn is remembered."""
_ROW_DATA = "org.apache.flink.table.data.RowData"
_UNSEEN = f"('{HEARTBEAT}', '{IGNORED}')"


def judged(received: Table, tables: StreamTableEnvironment, windows: Windows) -> DataStream:
    """Return the messages of `received`, in Kafka's order, each with its `verdict`.

    `received` has key, value, topic, partition and offset. The rows are Flink's own (RowData): to
    make others of them, and these again of those, would take as long as to judge them.
    """
    tables.create_temporary_system_function(
        "judge", udf(Judge(windows), result_type=VERDICT_TYPE, deterministic=False)
    )
    tables.create_temporary_view("judging", received)
    verdicts = tables.sql_query("""
        SELECT `key`, `value`, `topic`, `partition`, `offset`,
            judge(`key`, `value`, `topic`, `partition`) AS verdict
        FROM judging
    """)
    of_java, loader = verdicts._j_table, get_gateway().jvm.Thread.currentThread()  # noqa: SLF001
    row_data = loader.getContextClassLoader().loadClass(_ROW_DATA)
    kept = of_java.getResolvedSchema().toPhysicalRowDataType().bridgedTo(row_data)
    return DataStream(tables._j_tenv.toDataStream(of_java, kept))  # noqa: SLF001 - no other way


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
    tables.create_temporary_view("changes", _told(verdicts, tables, "id", "lsn", "image"))
    return tables.sql_query("""
        SELECT id, image FROM (
            SELECT id, image, ROW_NUMBER() OVER (PARTITION BY id ORDER BY lsn DESC) AS place
            FROM changes WHERE id IS NOT NULL
        ) WHERE place = 1
    """)


def dead_letters(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return `key` and `value` of rejected messages as they were, and `headers` by name."""
    tables.create_temporary_view(
        "messages", _told(verdicts, tables, "kind", "reasons", "rejected_ms")
    )
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


def ignored(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return the `kind` of each message that is ignored."""
    return _of_kind(verdicts, tables, "ignored_ones", f"kind IN {_UNSEEN}")


def late(verdicts: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return the `kind` of each message whose window had closed."""
    return _of_kind(verdicts, tables, "late_ones", f"kind = '{LATE}'")


def _of_kind(
    verdicts: DataStream, tables: StreamTableEnvironment, name: str, condition: str
) -> Table:
    tables.create_temporary_view(name, _told(verdicts, tables, "kind"))
    return tables.sql_query(f"SELECT kind FROM {name} WHERE {condition}")  # noqa: S608 - this module's


def windowed(verdicts: DataStream, tables: StreamTableEnvironment, windows: Windows) -> Table:
    """Return counts, means and shares of missing values of each window of event time."""
    schema = (
        _schema("kind", "event_ms", "features")
        .column_by_expression("event_time", "TO_TIMESTAMP_LTZ(verdict.event_ms, 3)")
        # A watermark says that nothing comes at its own millisecond either.
        .watermark("event_time", "TO_TIMESTAMP_LTZ(verdict.watermark_ms - 1, 3)")
        .build()
    )
    tables.create_temporary_view("placed", tables.from_data_stream(verdicts, schema))
    return tables.sql_query(_windows_query(windows.length_ms))


def _windows_query(length_ms: int) -> str:
    start = f"(MIN(event_ms) / {length_ms}) * {length_ms}"
    columns = {WINDOW_KEYS.start: start, WINDOW_KEYS.end: f"{start} + {length_ms}"}
    events = f"COUNT(*) FILTER (WHERE kind NOT IN {_UNSEEN})"
    columns[WINDOW_KEYS.events] = events
    counted = {
        WINDOW_KEYS.accepted: ACCEPTED,
        WINDOW_KEYS.deleted: DELETED,
        WINDOW_KEYS.rejected: REJECTED,
        WINDOW_KEYS.late: LATE,
    }
    for name, kind in counted.items():
        columns[name] = f"COUNT(*) FILTER (WHERE kind = '{kind}')"
    for place, feature in enumerate(FEATURE_NAMES, 1):
        columns[mean_name(feature)] = f"AVG(features[{place}]) FILTER (WHERE kind = '{ACCEPTED}')"
    for place, feature in enumerate(FEATURE_NAMES, 1):
        missing = f"CASE WHEN features[{place}] IS NULL THEN 1.0E0 ELSE 0.0E0 END"
        columns[missing_share_name(feature)] = f"AVG({missing}) FILTER (WHERE kind = '{ACCEPTED}')"
    selected = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    seconds = f"INTERVAL '{length_ms / 1000:.3f}' SECOND(9, 3)"
    return (
        f"SELECT {selected} "  # noqa: S608 - the contract's names
        f"FROM TUMBLE(TABLE placed, DESCRIPTOR(event_time), {seconds}) "
        f"GROUP BY window_start, window_end HAVING {events} > 0"
    )


def _told(verdicts: DataStream, tables: StreamTableEnvironment, *names: str) -> Table:
    """Return the messages with these columns of their verdicts."""
    return tables.from_data_stream(verdicts, _schema(*names).build())


def _schema(*names: str) -> Schema.Builder:
    schema = Schema.new_builder()
    for name in names:
        schema = schema.column_by_expression(name, f"verdict.{name}")
    return schema
