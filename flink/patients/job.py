"""The program that runs the graph on a cluster, between the topics of the contract."""

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial

from pyflink.common import Configuration
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment, Table

from diabetes_platform.contract.events import STREAM_JOB
from flink.patients import kafka_tables
from flink.patients.event_time import Windows
from flink.patients.graph import (
    dead_letters,
    ignored,
    judged,
    late,
    newest_images,
    table_environment,
    windowed,
)
from flink.patients.kafka_tables import Topics
from flink.patients.uids import set_uids

_DAY = 86_400
CONFIGURATION = {
    # A record waits 5 ms at most for others to go to the next task with it.
    "execution.buffer-timeout.interval": "5 ms",
    "execution.checkpointing.interval": "10 s",
    "execution.checkpointing.min-pause": "2 s",
    "execution.checkpointing.timeout": "2 min",
    # Readers know a message that comes again by its id and lsn.
    "execution.checkpointing.mode": "AT_LEAST_ONCE",
    "execution.checkpointing.tolerable-failed-checkpoints": "1000000",
    # What one task hands to the next in the same thread is not copied.
    "pipeline.object-reuse": "true",
    # State of a part that a newer graph no longer has is left behind.
    "execution.state-recovery.ignore-unclaimed-state": "true",
}


def read_verdicts(
    environment: StreamExecutionEnvironment,
    servers: str,
    topics: Topics,
    windows: Windows,
    *,
    bounded: bool,
) -> DataStream:
    """Return the messages of the source's topics with their verdicts."""
    tables = table_environment(environment)
    tables.execute_sql(kafka_tables.source_ddl(servers, topics, bounded=bounded))
    verdicts = judged(tables.from_path(kafka_tables.SOURCE), tables, windows)
    set_uids("source", [verdicts._j_data_stream.getTransformation()])  # noqa: SLF001 - no other way
    return verdicts


def build(
    environment: StreamExecutionEnvironment,
    servers: str,
    topics: Topics,
    windows: Windows,
    *,
    bounded: bool = False,
    without: Collection[str] = (),
) -> None:
    """Put the graph into `environment`, from the topic of changes to the three others.

    Tables in `without` are left out.
    """
    verdicts = read_verdicts(environment, servers, topics, windows, bounded=bounded)
    for part, ddl, query in (
        (kafka_tables.WINDOWS, kafka_tables.windows_ddl, partial(windowed, windows=windows)),
        (kafka_tables.DEAD_LETTERS, kafka_tables.dead_letters_ddl, dead_letters),
        (kafka_tables.IMAGES, kafka_tables.images_ddl, newest_images),
        (kafka_tables.IGNORED, kafka_tables.ignored_ddl, ignored),
        (kafka_tables.LATE, kafka_tables.late_ddl, late),
    ):
        if part in without:
            continue
        tables = table_environment(environment)
        tables.execute_sql(ddl(servers, topics))
        write_to(part, environment, tables, query(verdicts, tables))


def write_to(
    sink: str,
    environment: StreamExecutionEnvironment,
    tables: StreamTableEnvironment,
    table: Table,
) -> None:
    """Let `table` be written to the table named `sink`, by which its operators' uids begin."""
    of_java = environment._j_stream_execution_environment  # noqa: SLF001 - no other way
    before = len(of_java.getTransformations())
    statements = tables.create_statement_set()
    statements.add_insert(sink, table)
    statements.attach_as_datastream()
    set_uids(sink, list(of_java.getTransformations())[before:])


def main(arguments: Sequence[str]) -> int:
    """Submit the job and leave it running; a `--bounded` one ends with what there is."""
    given = _parse(arguments)
    configuration = Configuration()
    for name, value in CONFIGURATION.items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    topics = Topics(given.changes, given.images, given.rejected, given.windowed)
    windows = Windows(given.window * 1000, given.lateness * 1000, given.idle * 1000)
    servers, without = given.bootstrap_servers, given.without
    build(environment, servers, topics, windows, bounded=given.bounded, without=without)
    # Its name is that of the configuration, where whoever submits it has put it.
    client = environment.execute_async(None)
    print(client.get_job_id())
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    topics, windows = Topics(), Windows()
    parser = argparse.ArgumentParser(prog=STREAM_JOB, description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True, help="Kafka, as HOST:PORT")
    parser.add_argument("--changes", default=topics.changes, help="topic to read")
    parser.add_argument("--images", default=topics.images, help="topic of newest images")
    parser.add_argument("--rejected", default=topics.rejected, help="topic of dead letters")
    parser.add_argument("--windowed", default=topics.windowed, help="topic of windows")
    seconds = {
        "window": (1, windows.length_ms, "length of a window"),
        "lateness": (0, windows.lateness_ms, "how late a change may be"),
        "idle": (0, windows.idle_ms, "after how long a silent partition is not waited for"),
    }
    for name, (least, default_ms, text) in seconds.items():
        parser.add_argument(
            f"--{name}", type=_seconds(least), default=default_ms // 1000, help=f"{text} [s]"
        )
    tables = (kafka_tables.WINDOWS, kafka_tables.DEAD_LETTERS, kafka_tables.IMAGES)
    parser.add_argument("--without", action="append", default=[], choices=tables, help="leave out")
    parser.add_argument("--bounded", action="store_true", help="end with what there is now")
    return parser.parse_args(arguments)


def _seconds(least: int) -> Callable[[str], int]:
    def seconds(given: str) -> int:
        if not given.isdecimal() or not least <= int(given) <= _DAY:
            raise argparse.ArgumentTypeError(f"given {given}, allowed {least} to {_DAY} seconds")
        return int(given)

    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
