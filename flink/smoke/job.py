"""The smoke job's graph, and the program that runs it on a cluster and checks the result."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence

from pyflink.common import Configuration, Row, Types, WatermarkStrategy
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.table import Schema, StreamTableEnvironment, Table

from flink.smoke.patients import expected_verdicts, verdict

NAME = "smoke"
CHECKPOINT_INTERVAL = "1 s"
_CHECKED = Types.ROW_NAMED(["number", "verdict"], [Types.LONG(), Types.STRING()])
_COUNT = """
    SELECT verdict, COUNT(*) AS patients
    FROM TUMBLE(TABLE checked, DESCRIPTOR(event_time), INTERVAL '1' SECOND)
    GROUP BY window_start, window_end, verdict
"""


def count_verdicts(numbers: DataStream, tables: StreamTableEnvironment) -> Table:
    """Return `verdict` and `patients` for each window of a thousand of `numbers`.

    A number identifies a patient and is the event's time in milliseconds.
    """
    checked = numbers.map(lambda number: Row(number, verdict(number)), _CHECKED).name("check")
    schema = (
        Schema.new_builder()
        .column("number", "BIGINT")
        .column("verdict", "STRING")
        .column_by_expression("event_time", "TO_TIMESTAMP_LTZ(number, 3)")
        .watermark("event_time", "event_time")
        .build()
    )
    tables.create_temporary_view("checked", tables.from_data_stream(checked, schema))
    return tables.sql_query(_COUNT)


def run(environment: StreamExecutionEnvironment, rows: int) -> dict[str, int]:
    """Run the graph on `rows` generated patients; return the number of patients by verdict."""
    source = NumberSequenceSource(0, rows - 1)
    numbers = environment.from_source(source, WatermarkStrategy.no_watermarks(), "numbers")
    table = count_verdicts(numbers, StreamTableEnvironment.create(environment))
    counted: Counter[str] = Counter()
    with table.execute().collect() as windows:
        for name, patients in windows:
            counted[name] += patients
    return dict(counted)


def main(arguments: Sequence[str]) -> int:
    """Run on `flink run`'s cluster and print the verdicts as JSON; return 1 if one is wrong."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="number of patients")
    rows = parser.parse_args(arguments).rows
    configuration = Configuration()
    configuration.set_string("execution.checkpointing.interval", CHECKPOINT_INTERVAL)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    verdicts = run(environment, rows)
    print(json.dumps(verdicts))
    expected = expected_verdicts(rows)
    if verdicts != expected:
        print(f"{NAME}: verdicts are {verdicts}, expected {expected}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
