"""The checks of the stream's quality on a lake of the test's own."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.contract.stream_tables import STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.contract.tables import STREAM_PATIENTS, Table
from diabetes_platform.defs.monitoring.stream_quality import few_events_late, few_records_rejected
from diabetes_platform.lake.delta import Lake
from diabetes_platform_tests.lake.appending import append_rows

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
NOW = datetime.now(UTC)
PLACE = {"day": NOW.date().isoformat(), "topic_id": "t", "kafka_partition": 0, "written_at": NOW}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def put(lake: Lake, contract: Table, rows: list[dict[str, object]]) -> None:
    append_rows(lake, contract, [{**PLACE, "kafka_offset": n, **row} for n, row in enumerate(rows)])


def with_stream(lake: Lake, let_through: int, rejected: int) -> None:
    changes = [{"change_id": f"{n}-{n}", "id": n, "op": "c", "lsn": n} for n in range(let_through)]
    put(lake, STREAM_PATIENTS, changes)
    source = {"source_topic": "changes", "source_partition": 0}
    letters = [
        {"reasons": ["age:missing"], **source, "source_offset": n, "message_value": b"4711"}
        for n in range(rejected)
    ]
    put(lake, STREAM_REJECTED, letters)


def with_windows(lake: Lake, events: int, late: int) -> None:
    counts = {"events": events, "accepted": events - late, "deleted": 0, "rejected": 0}
    put(lake, STREAM_WINDOWS, [{"window_start": NOW, "window_end": NOW, **counts, "late": late}])


def result(check: dg.AssetChecksDefinition, lake: Lake) -> dg.AssetCheckEvaluation:
    run = dg.materialize(
        [check], selection=dg.AssetSelection.all_asset_checks(), resources={"lake": lake}
    )
    (found,) = run.get_asset_check_evaluations()
    return found


SHARES = pytest.mark.parametrize(
    ("good", "bad", "passed", "severity"),
    [
        pytest.param(1000, 0, True, WARN, id="none"),
        pytest.param(990, 10, True, WARN, id="one in a hundred"),
        pytest.param(980, 20, False, WARN, id="two in a hundred"),
        pytest.param(90, 10, False, WARN, id="one in ten"),
        pytest.param(80, 20, False, ERROR, id="one in five"),
    ],
)


@SHARES
def test_the_share_of_rejected_records(
    lake: Lake, good: int, bad: int, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    with_stream(lake, good, bad)
    found = result(few_records_rejected, lake)
    assert (found.passed, found.severity) == (passed, severity)
    numbers = {name: value.value for name, value in found.metadata.items()}
    assert (numbers["rejected_records"], numbers["let_through"]) == (bad, good)
    assert numbers["share"] == bad / (good + bad)


@SHARES
def test_the_share_of_late_events(
    lake: Lake, good: int, bad: int, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    with_windows(lake, good + bad, bad)
    found = result(few_events_late, lake)
    assert (found.passed, found.severity) == (passed, severity)
    assert found.metadata["late_events"].value == bad


def test_the_reasons_are_counted_and_no_value_is_shown(lake: Lake) -> None:
    with_stream(lake, 0, 3)
    found = result(few_records_rejected, lake)
    assert (
        found.metadata["reasons"].value == "| reason | records |\n|---|---:|\n| `age:missing` | 3 |"
    )
    assert "4711" not in str(found)


@pytest.mark.parametrize("check", [few_records_rejected, few_events_late])
def test_of_too_few_no_share_is_judged(lake: Lake, check: dg.AssetChecksDefinition) -> None:
    with_stream(lake, 1, 2)
    with_windows(lake, 3, 2)
    found = result(check, lake)
    assert found.passed
    assert found.metadata["judged"].value is False
    assert "too few to judge a share, needed 50" in (found.description or "")


@pytest.mark.parametrize("check", [few_records_rejected, few_events_late])
def test_without_a_stream_there_is_nothing_to_judge(
    lake: Lake, check: dg.AssetChecksDefinition
) -> None:
    found = result(check, lake)
    assert found.passed
    assert found.metadata["judged"].value is False
