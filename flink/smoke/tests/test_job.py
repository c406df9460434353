"""The graph on a mini-cluster, with a source and a sink of the test's own."""

import json

import pytest
from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

from diabetes_platform.contract.fields import FEATURES
from flink.smoke.job import count_verdicts, main
from flink.smoke.patients import ACCEPTED, ONE_IN, verdict


@pytest.mark.integration
def test_the_verdicts_are_counted_per_window(
    stream: StreamExecutionEnvironment, tables: StreamTableEnvironment
) -> None:
    numbers = stream.from_collection([0, 1, 2, ONE_IN, 1001, 2000], Types.LONG())
    with count_verdicts(numbers, tables).execute().collect() as windows:
        results = sorted((name, patients) for name, patients in windows)
    first, next_field, accepted = verdict(0), verdict(ONE_IN), verdict(1)
    assert results == sorted(
        [(first, 1), (accepted, 2), (next_field, 1), (accepted, 1), (verdict(2000), 1)]
    )


@pytest.mark.integration
def test_the_program_prints_what_it_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "25"]) == 0
    rejected = [f"{field.name}:above_maximum" for field in FEATURES[:3]]
    assert json.loads(capsys.readouterr().out) == {ACCEPTED: 22, **dict.fromkeys(rejected, 1)}
