"""The program that submits the graph to a cluster, between the topics of the contract."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment

from diabetes_platform.contract.topics import STREAM_JOB
from flink.patients import kafka_tables
from flink.patients.event_time import WindowOptions
from flink.patients.graph import (
    classified,
    dead_letters,
    newest_images,
    of_kinds,
    table_environment,
    windowed,
)
from flink.patients.kafka_tables import Topics
from flink.patients.messages import LATE, NOT_COUNTED
from flink.patients.uids import set_uids
from flink.pyflink_internals import transformation, transformations

WAIT_SECONDS = 180.0
"""A program whose caller is gone must end."""
_DAY = 86_400
CONFIGURATION = {
    # How long a record may wait for others before it goes to the next task.
    "execution.buffer-timeout.interval": "5 ms",
    "execution.checkpointing.interval": "10 s",
    "execution.checkpointing.min-pause": "2 s",
    "execution.checkpointing.timeout": "2 min",
    # Readers recognise a repeated message by its id and lsn.
    "execution.checkpointing.mode": "AT_LEAST_ONCE",
    "execution.checkpointing.tolerable-failed-checkpoints": "1000000",
    # Tasks chained in one thread share records instead of copying them.
    "pipeline.object-reuse": "true",
    # A newer graph may lack a part: its state is dropped.
    "execution.state-recovery.ignore-unclaimed-state": "true",
}


def build(
    environment: StreamExecutionEnvironment,
    servers: str,
    topics: Topics,
    windows: WindowOptions,
    *,
    bounded: bool = False,
    without: Collection[str] = (),
) -> None:
    """Add the graph to `environment`, from the topic of changes to the other three.

    Sinks named in `without` are left out. The name of a sink prefixes its operators' uids.
    """
    tables = table_environment(environment)
    tables.execute_sql(kafka_tables.source_ddl(servers, topics, bounded=bounded))
    verdicts = classified(tables.from_path(kafka_tables.SOURCE), tables, windows)
    set_uids("source", [transformation(verdicts)])
    ddls = kafka_tables.sink_ddls(servers, topics)
    for sink, query in (
        (kafka_tables.WINDOWS, partial(windowed, windows=windows)),
        (kafka_tables.DEAD_LETTERS, dead_letters),
        (kafka_tables.IMAGES, newest_images),
        (kafka_tables.IGNORED, partial(of_kinds, kinds=NOT_COUNTED)),
        (kafka_tables.LATE, partial(of_kinds, kinds=[LATE])),
    ):
        if sink in without:
            continue
        tables = table_environment(environment)
        tables.execute_sql(ddls[sink])
        results = query(verdicts, tables)
        existing = len(transformations(environment))
        statements = tables.create_statement_set()
        statements.add_insert(sink, results)
        statements.attach_as_datastream()
        set_uids(sink, transformations(environment)[existing:])


def main(arguments: Sequence[str]) -> int:
    """Submit the job and leave it running; with `--bounded` it ends at the newest message."""
    options = parse_arguments(arguments)
    configuration = Configuration()
    for name, value in CONFIGURATION.items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    topics = Topics(options.changes, options.images, options.rejected, options.windowed)
    windows = WindowOptions(options.window * 1000, options.lateness * 1000, options.idle * 1000)
    servers, without = options.bootstrap_servers, options.without
    build(environment, servers, topics, windows, bounded=options.bounded, without=without)
    if options.submit_with is not None:
        environment.configure(remaining_options(options.submit_with))
    # None: the job's name comes from the configuration with which it is submitted.
    client = environment.execute_async(None)
    print(client.get_job_id())
    return 0


def remaining_options(file: Path, seconds: float = WAIT_SECONDS) -> Configuration:
    """Wait for a file of Flink's options, a JSON object, and return them.

    Raises TimeoutError.
    """
    deadline = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file} was not written within {seconds:.0f} s")
        time.sleep(0.05)
    configuration = Configuration()
    for name, value in json.loads(file.read_text(encoding="utf-8")).items():
        configuration.set_string(name, value)
    return configuration


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; an argument that is not allowed ends the program with a message."""
    topics, windows = Topics(), WindowOptions()
    parser = argparse.ArgumentParser(prog=STREAM_JOB, description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True, help="Kafka, as HOST:PORT")
    parser.add_argument("--changes", default=topics.changes, help="topic to read")
    parser.add_argument("--images", default=topics.images, help="topic of newest images")
    parser.add_argument("--rejected", default=topics.rejected, help="topic of dead letters")
    parser.add_argument("--windowed", default=topics.windowed, help="topic of windows")
    seconds = {
        "window": (1, windows.length_ms, "length of a window"),
        "lateness": (0, windows.lateness_ms, "how late a change may be"),
        "idle": (0, windows.idle_ms, "silence after which a partition is idle"),
    }
    for name, (minimum, default_ms, text) in seconds.items():
        parser.add_argument(
            f"--{name}", type=_seconds(minimum), default=default_ms // 1000, help=f"{text} [s]"
        )
    tables = (kafka_tables.WINDOWS, kafka_tables.DEAD_LETTERS, kafka_tables.IMAGES)
    parser.add_argument("--without", action="append", default=[], choices=tables, help="leave out")
    parser.add_argument("--bounded", action="store_true", help="end at the newest message")
    parser.add_argument(
        "--submit-with",
        type=Path,
        metavar="FILE",
        help="build the graph, then wait for this file: Flink's remaining options, as JSON",
    )
    return parser.parse_args(arguments)


def _seconds(minimum: int) -> Callable[[str], int]:
    def seconds(text: str) -> int:
        if not text.isdecimal() or not minimum <= int(text) <= _DAY:
            raise argparse.ArgumentTypeError(f"is {text}; allowed: {minimum} to {_DAY} seconds")
        return int(text)

    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
