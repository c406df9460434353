"""The peer: the shortest job that writes the same images, keys and dead letters.

A `ProcessFunction` of PyFlink's DataStream API in thread mode, with a plain function for what
Python is needed for, and SQL for the newest image by id, as anybody would begin. It has no
windows, no times, no headers and one reason at most.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import orjson
from pyflink.common import Row, Types, WatermarkStrategy
from pyflink.common.serialization import ByteArraySchema, RowFieldExtractorSchema
from pyflink.datastream import OutputTag, ProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.table import Schema, StreamTableEnvironment

from diabetes_platform.contract.change_events import IMAGE_KEYS
from diabetes_platform.contract.fields import FEATURES
from flink.patients.kafka_tables import IMAGES, SINK_OPTIONS, Topics, sink_ddls

# Of its own type: one that Java has seen cannot be sent with the function.
_REJECTED = OutputTag("rejected", Types.ROW([Types.PRIMITIVE_ARRAY(Types.BYTE())]))
_BOUNDS = [(field.name, field.minimum, field.maximum, field.required) for field in FEATURES]
_KEYS = IMAGE_KEYS


def read(value: bytes) -> tuple[int, int, bytes | None]:
    """Return id, lsn and image of a change; raises an error for any other message."""
    change = orjson.loads(value)
    op, lsn = change["op"], change["source"]["lsn"]
    image = change["before" if op == "d" else "after"]
    row_id = image["id"]
    if op not in ("c", "u", "r", "d") or type(lsn) is not int or type(row_id) is not int:
        raise ValueError(op)
    if op == "d":
        return row_id, lsn, None
    for name, least, most, required in _BOUNDS:
        value = image[name]
        if value is None and not required:
            continue
        if type(value) not in (int, float) or not least <= value <= most:
            raise ValueError(name)
    return row_id, lsn, orjson.dumps({**{key: image[key] for key in _KEYS}, "op": op, "lsn": lsn})


class Read(ProcessFunction):
    """Bytes to id, lsn and image; unreadable messages go to the side output."""

    def process_element(self, value: Any, ctx: object) -> Iterator[Any]:  # noqa: ANN401, ARG002
        """Yield one row."""
        raw = bytes(value)
        try:
            row = Row(*read(raw))
        except (ValueError, TypeError, KeyError):
            yield _REJECTED, Row(raw)
        else:
            yield row


def main() -> None:
    """Submit the job; the options name its topics."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap-servers", "changes", "images", "rejected", "windowed"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--bounded", action="store_true")
    options = parser.parse_args()
    environment = StreamExecutionEnvironment.get_execution_environment()
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(options.bootstrap_servers)
        .set_topics(options.changes)
        .set_value_only_deserializer(ByteArraySchema())
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.latest())
        .build()
    )
    plain, watermarks = Types.PRIMITIVE_ARRAY(Types.BYTE()), WatermarkStrategy.no_watermarks()
    messages = environment.from_source(source, watermarks, "changes", plain)
    rows = messages.process(Read(), Types.ROW([Types.LONG(), Types.LONG(), plain]))
    written = KafkaRecordSerializationSchema.builder().set_topic(options.rejected)
    written = written.set_value_serialization_schema(RowFieldExtractorSchema(0))
    letters = KafkaSink.builder().set_bootstrap_servers(options.bootstrap_servers)
    letters = letters.set_record_serializer(written.build())
    letters = letters.set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
    for name, option in SINK_OPTIONS.items():
        if name.startswith("properties."):
            letters = letters.set_property(name.removeprefix("properties."), option)
    rows.get_side_output(_REJECTED).sink_to(letters.build())
    topics = Topics(images=options.images)
    _merge(environment, rows, sink_ddls(options.bootstrap_servers, topics)[IMAGES])
    environment.execute_async(None)


def _merge(environment: StreamExecutionEnvironment, rows: Any, images: str) -> None:  # noqa: ANN401
    tables = StreamTableEnvironment.create(environment)
    tables.get_config().set("table.exec.sink.upsert-materialize", "NONE")
    columns = Schema.new_builder().column("f0", "BIGINT").column("f1", "BIGINT")
    schema = columns.column("f2", "BYTES").build()
    tables.create_temporary_view("changes", tables.from_data_stream(rows, schema))
    tables.execute_sql(images)
    statements = tables.create_statement_set()
    statements.add_insert_sql(f"""
        INSERT INTO {IMAGES} SELECT f0, f2 FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY f0 ORDER BY f1 DESC) AS place FROM changes
        ) WHERE place = 1
    """)  # noqa: S608 - this project's name
    statements.attach_as_datastream()


if __name__ == "__main__":
    main()
