"""The program: uids of the operators, and its arguments."""

import json
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from flink.patients.event_time import WindowOptions
from flink.patients.job import main, parse_arguments, remaining_options
from flink.patients.kafka_tables import Topics, source_ddl
from flink.patients.uids import set_uids


class Transformation:
    """The methods of Flink's transformations that `set_uids` calls."""

    def __init__(self, name: str, *inputs: "Transformation", uid: str | None = None) -> None:
        self._name, self._inputs, self._uid = name, list(inputs), uid

    def getName(self) -> str:  # noqa: N802 - Java's
        return self._name

    def getInputs(self) -> list["Transformation"]:  # noqa: N802
        return self._inputs

    def getUid(self) -> str | None:  # noqa: N802
        return self._uid

    def setUid(self, uid: str) -> None:  # noqa: N802
        self._uid = uid


def uids(first_node: int) -> list[Any]:
    judge = Transformation("judge", uid="judge")
    calc = Transformation(f"Calc[{first_node}]", judge)
    rank = Transformation(f"Rank[{first_node + 1}]", calc)
    last = Transformation(f"Calc[{first_node + 2}]", rank)
    set_uids("images", [last])
    return [node.getUid() for node in (judge, calc, rank, last)]


def test_uids_do_not_depend_on_the_planners_node_numbers() -> None:
    assert uids(5) == ["judge", "images-Calc-2", "images-Rank-1", "images-Calc-1"]
    assert uids(500) == uids(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--bootstrap-servers"),
        (["--bootstrap-servers", "x:1", "--window", "0"], "allowed: 1 to 86400 seconds"),
        (["--bootstrap-servers", "x:1", "--lateness", "-1"], "allowed: 0 to 86400 seconds"),
        (["--bootstrap-servers", "x:1", "--without", "judge"], "invalid choice"),
    ],
)
def test_names_an_argument_that_is_not_allowed(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_topics_and_windows_are_the_contracts_unless_the_caller_names_others() -> None:
    options = parse_arguments(["--bootstrap-servers", "x:1", "--window", "60"])
    assert options.changes == Topics().changes
    assert options.lateness * 1000 == WindowOptions().lateness_ms
    assert options.window == 60
    assert not options.bounded


def test_without_a_checkpoint_the_job_continues_after_the_committed_offsets() -> None:
    ddl = source_ddl("x:1", Topics(), bounded=False)
    assert "'scan.startup.mode' = 'group-offsets'" in ddl
    # For partitions without a committed offset, and for offsets that Kafka no longer has.
    assert "'properties.auto.offset.reset' = 'earliest'" in ddl


def test_a_bounded_job_reads_all_that_kafka_has() -> None:
    ddl = source_ddl("x:1", Topics(), bounded=True)
    assert "'scan.startup.mode' = 'earliest-offset'" in ddl
    assert "'scan.bounded.mode' = 'latest-offset'" in ddl


def test_the_remaining_options_may_be_written_later(tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"parallelism.default": "3"}), encoding="utf-8")
    Timer(0.2, new.rename, [file]).start()
    options = remaining_options(file, seconds=30)
    assert options.get_string("parallelism.default", "1") == "3"


def test_remaining_options_that_are_not_written_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="was not written within 0 s"):
        remaining_options(tmp_path / "options.json", seconds=0)
