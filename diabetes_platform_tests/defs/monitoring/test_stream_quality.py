"""Checks of the stream, on a lake of the test's own and without a Flink cluster."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from diabetes_platform.contract.tables import (
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    Table,
)
from diabetes_platform.defs.monitoring.stream_quality import (
    every_message_accounted_for,
    every_patient_has_an_answer,
    few_events_late,
    few_records_rejected,
    lake_has_every_patient,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.lake.appending import append_rows
from diabetes_platform_tests.warehouse.test_intake import HOUR, MINUTE, answer, receive

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
NOW = datetime.now(UTC)
POSITION = {
    "day": NOW.date().isoformat(),
    "topic_id": "t",
    "kafka_partition": 0,
    "written_at": NOW,
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def append(lake: Lake, table: Table, rows: list[dict[str, object]]) -> None:
    append_rows(lake, table, [{**POSITION, "kafka_offset": n, **row} for n, row in enumerate(rows)])


def append_records(lake: Lake, accepted: int, rejected: int) -> None:
    changes = [{"change_id": f"{n}-{n}", "id": n, "op": "c", "lsn": n} for n in range(accepted)]
    append(lake, STREAM_PATIENTS, changes)
    source = {"source_topic": "changes", "source_partition": 0}
    letters = [
        {"reasons": ["age:missing"], **source, "source_offset": n, "message_value": b"4711"}
        for n in range(rejected)
    ]
    append(lake, STREAM_REJECTED, letters)


def append_window(lake: Lake, events: int, late: int) -> None:
    counts = {"events": events, "accepted": events - late, "deleted": 0, "rejected": 0}
    times = {"window_start": NOW, "window_end": NOW}
    append(lake, STREAM_WINDOWS, [{**times, **counts, "late": late}])


def evaluate(check: dg.AssetChecksDefinition, **resources: object) -> dg.AssetCheckEvaluation:
    run = dg.materialize(
        [check], selection=dg.AssetSelection.all_asset_checks(), resources=resources
    )
    (evaluation,) = run.get_asset_check_evaluations()
    return evaluation


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
def test_evaluates_the_share_of_rejected_records(
    lake: Lake, good: int, bad: int, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    append_records(lake, good, bad)
    evaluation = evaluate(few_records_rejected, lake=lake)
    assert (evaluation.passed, evaluation.severity) == (passed, severity)
    metadata = {name: entry.value for name, entry in evaluation.metadata.items()}
    assert (metadata["rejected_records"], metadata["let_through"]) == (bad, good)
    assert metadata["share"] == bad / (good + bad)


@SHARES
def test_evaluates_the_share_of_late_events(
    lake: Lake, good: int, bad: int, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    append_window(lake, good + bad, bad)
    evaluation = evaluate(few_events_late, lake=lake)
    assert (evaluation.passed, evaluation.severity) == (passed, severity)
    assert evaluation.metadata["late_events"].value == bad


def test_counts_reasons_and_shows_no_value(lake: Lake) -> None:
    append_records(lake, 0, 3)
    evaluation = evaluate(few_records_rejected, lake=lake)
    assert evaluation.metadata["reasons"].value == (
        "| reason | records |\n|---|---:|\n| `age:missing` | 3 |"
    )
    assert "4711" not in str(evaluation)


@pytest.mark.parametrize("check", [few_records_rejected, few_events_late])
def test_a_share_of_few_records_is_inconclusive(
    lake: Lake, check: dg.AssetChecksDefinition
) -> None:
    append_records(lake, 1, 2)
    append_window(lake, 3, 2)
    evaluation = evaluate(check, lake=lake)
    assert evaluation.passed
    assert evaluation.metadata["judged"].value is False
    assert "too few to evaluate a share, required 50" in (evaluation.description or "")


@pytest.mark.parametrize("check", [few_records_rejected, few_events_late])
def test_a_share_without_a_stream_is_inconclusive(
    lake: Lake, check: dg.AssetChecksDefinition
) -> None:
    evaluation = evaluate(check, lake=lake)
    assert evaluation.passed
    assert evaluation.metadata["judged"].value is False


@pytest.mark.parametrize(
    ("url", "description"),
    [
        pytest.param(None, "PLATFORM_FLINK_URL is not set", id="no cluster"),
        pytest.param(
            f"http://{HOST}:{free_port()}",
            "Flink's counters cannot be read: Flink's JobManager does not answer",
            id="no answer",
        ),
    ],
)
def test_accounting_without_counters_does_not_pass(
    tmp_path: Path, url: str | None, description: str
) -> None:
    settings = PlatformSettings(home=tmp_path, flink_url=url)
    resource = dg.ResourceDefinition(lambda _: settings)
    evaluation = evaluate(every_message_accounted_for, settings=resource)
    assert (evaluation.passed, evaluation.severity) == (False, WARN)
    assert (evaluation.description or "").startswith(description)
    assert evaluation.metadata["judged"].value is False


@pytest.mark.integration
def test_the_lake_has_every_patient_of_the_intake_table(lake: Lake, database_url: str) -> None:
    upgrade(database_url)
    settings = PlatformSettings.model_validate(
        {"warehouse_url": database_url, "kafka_servers": f"{HOST}:{free_port()}"}
    )
    resources = {"lake": lake, "settings": dg.ResourceDefinition.hardcoded_resource(settings)}
    first, second, _ = receive(database_url, HOUR, HOUR, timedelta(0))
    evaluation = evaluate(lake_has_every_patient, **resources)
    assert (evaluation.passed, evaluation.severity) == (False, ERROR)
    assert "0 of 2 patients" in (evaluation.description or "")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id, received_at FROM public.diabetes_new").fetchall()
    changes = [
        {"change_id": f"{n}-{n}", "id": n, "op": "c", "lsn": n, "received_at": received_at}
        for n, received_at in rows
        if n in {first, second}
    ]
    append(lake, STREAM_PATIENTS, changes)
    evaluation = evaluate(lake_has_every_patient, **resources)
    assert evaluation.passed
    assert evaluation.metadata["patients_in_lake"].value == 2


def test_nothing_is_compared_with_the_intake_table_without_a_stream(lake: Lake) -> None:
    settings = dg.ResourceDefinition.hardcoded_resource(PlatformSettings())
    for evaluation in (
        evaluate(lake_has_every_patient, lake=lake, settings=settings),
        evaluate(every_patient_has_an_answer, settings=settings),
    ):
        assert evaluation.metadata["judged"].value is False


@pytest.mark.integration
def test_every_patient_of_the_intake_table_has_an_answer(database_url: str) -> None:
    upgrade(database_url)
    settings = PlatformSettings.model_validate(
        {"warehouse_url": database_url, "kafka_servers": f"{HOST}:{free_port()}"}
    )
    resource = dg.ResourceDefinition.hardcoded_resource(settings)
    first, second, _ = receive(database_url, HOUR, HOUR, timedelta(0))
    answer(database_url, first, HOUR - MINUTE)
    evaluation = evaluate(every_patient_has_an_answer, settings=resource)
    assert (evaluation.passed, evaluation.severity) == (False, ERROR)
    assert (
        f"1 patients wait for a prediction of their newest change, the first one is {second}"
        in (evaluation.description or "")
    )
    answer(database_url, second, HOUR - MINUTE)
    assert evaluate(every_patient_has_an_answer, settings=resource).passed
