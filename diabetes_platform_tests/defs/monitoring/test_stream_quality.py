"""Checks of the stream, on a lake of the test's own and without a Flink cluster."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer

import dagster as dg
import psycopg
import pytest

from diabetes_platform.contract.s3 import DEFAULT_S3
from diabetes_platform.contract.tables import (
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    Table,
)
from diabetes_platform.defs.monitoring import stream_quality
from diabetes_platform.defs.monitoring.stream_quality import (
    IN_FLIGHT,
    every_message_accounted_for,
    every_patient_has_an_answer,
    few_events_late,
    few_records_rejected,
    lake_has_every_patient,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.rejected_patients import rejected_patients
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.orchestration.resources import Models
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.lake.appending import append_rows
from diabetes_platform_tests.lake.test_rejected_patients import append_rejections
from diabetes_platform_tests.modelling.test_store import model
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


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """Return a model store with a released model."""
    models = Models(str(tmp_path / "models"), DEFAULT_S3)
    models.store().release(models.store().put_version(*model(1)), expected_etag=None)
    return models


@pytest.fixture
def intake(database_url: str) -> dg.ResourceDefinition:
    """Return the settings of a platform whose intake table is empty."""
    upgrade(database_url)
    settings = {"warehouse_url": database_url, "kafka_servers": f"{HOST}:{free_port()}"}
    return dg.ResourceDefinition.hardcoded_resource(PlatformSettings.model_validate(settings))


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
def test_the_lake_has_every_patient_of_the_intake_table(
    lake: Lake, intake: dg.ResourceDefinition, database_url: str
) -> None:
    first, second, _ = receive(database_url, HOUR, HOUR, timedelta(0))
    evaluation = evaluate(lake_has_every_patient, lake=lake, settings=intake)
    assert (evaluation.passed, evaluation.severity) == (False, ERROR)
    assert "0 of 2 patients" in (evaluation.description or "")
    ingest(lake, database_url, first, second)
    evaluation = evaluate(lake_has_every_patient, lake=lake, settings=intake)
    assert evaluation.passed
    assert evaluation.metadata["patients_in_lake"].value == 2


@pytest.mark.integration
def test_a_change_that_comes_of_age_during_the_check_is_missing_nowhere(
    lake: Lake,
    intake: dg.ResourceDefinition,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def come_of_age(lake: Lake) -> dict[int, datetime]:
        receive(database_url, IN_FLIGHT)
        return rejected_patients(lake)

    monkeypatch.setattr(stream_quality, "rejected_patients", come_of_age)
    assert evaluate(lake_has_every_patient, lake=lake, settings=intake).passed


def ingest(lake: Lake, url: str, *patients: int) -> None:
    """Add the intake rows of these patients to `stream/patients`."""
    with psycopg.connect(url) as connection:
        select = "SELECT id, received_at FROM public.diabetes_new WHERE id = ANY(%s)"
        rows = connection.execute(select, [list(patients)]).fetchall()
    changes = [
        {"change_id": f"{n}-{n}", "id": n, "op": "c", "lsn": n, "received_at": received_at}
        for n, received_at in rows
    ]
    append(lake, STREAM_PATIENTS, changes)


def test_nothing_is_compared_with_the_intake_table_without_a_stream(
    lake: Lake, models: Models
) -> None:
    settings = dg.ResourceDefinition.hardcoded_resource(PlatformSettings())
    for evaluation in (
        evaluate(lake_has_every_patient, lake=lake, settings=settings),
        evaluate(every_patient_has_an_answer, lake=lake, models=models, settings=settings),
    ):
        assert evaluation.metadata["judged"].value is False


@pytest.mark.integration
def test_every_patient_of_the_intake_table_has_an_answer(
    lake: Lake, models: Models, intake: dg.ResourceDefinition, database_url: str
) -> None:
    resources = {"lake": lake, "models": models, "settings": intake}
    first, second, _ = receive(database_url, HOUR, HOUR, timedelta(0))
    answer(database_url, first, HOUR - MINUTE)
    evaluation = evaluate(every_patient_has_an_answer, **resources)
    assert (evaluation.passed, evaluation.severity) == (False, ERROR)
    assert (
        f"1 patients wait for a prediction of their newest change, the first one is {second}"
        in (evaluation.description or "")
    )
    answer(database_url, second, HOUR - MINUTE)
    assert evaluate(every_patient_has_an_answer, **resources).passed


@pytest.mark.integration
def test_a_deletion_that_does_not_arrive_fails(
    lake: Lake,
    models: Models,
    intake: dg.ResourceDefinition,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_quality, "DELETION_SECONDS", 0.5)
    (patient,) = receive(database_url, HOUR)
    for answered in (patient, 4711):
        answer(database_url, answered, MINUTE)
    evaluation = evaluate(every_patient_has_an_answer, lake=lake, models=models, settings=intake)
    assert (evaluation.passed, evaluation.severity) == (False, ERROR)
    assert evaluation.metadata["deleted"].value == 1
    assert "1 deleted patients still have predictions, the first one is 4711" in (
        evaluation.description or ""
    )


@pytest.mark.integration
def test_a_deletion_on_its_way_is_waited_for(
    lake: Lake,
    models: Models,
    intake: dg.ResourceDefinition,
    database_url: str,
) -> None:
    answer(database_url, 4711, MINUTE)

    def delete() -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("DELETE FROM serving.predictions")

    timer = Timer(2.0, delete)
    timer.start()
    evaluation = evaluate(every_patient_has_an_answer, lake=lake, models=models, settings=intake)
    timer.join()
    assert evaluation.passed


@pytest.mark.integration
def test_patients_may_wait_before_the_first_release(
    lake: Lake, tmp_path: Path, intake: dg.ResourceDefinition, database_url: str
) -> None:
    receive(database_url, HOUR)
    models = Models(str(tmp_path / "empty"), DEFAULT_S3)
    evaluation = evaluate(every_patient_has_an_answer, lake=lake, models=models, settings=intake)
    assert (evaluation.passed, evaluation.severity) == (False, WARN)
    assert evaluation.metadata["judged"].value is False
    assert "No model was released yet" in (evaluation.description or "")


@pytest.mark.integration
def test_a_rejected_patient_neither_waits_nor_lacks(
    lake: Lake, models: Models, intake: dg.ResourceDefinition, database_url: str
) -> None:
    answered, rejected, lost = receive(database_url, HOUR, HOUR, HOUR)
    answer(database_url, answered, HOUR - MINUTE)
    ingest(lake, database_url, answered)
    append_rejections(lake, (b'{"id":%d}' % rejected, NOW, NOW))

    def results() -> list[tuple[bool, str]]:
        resources = {"lake": lake, "models": models, "settings": intake}
        checks = (every_patient_has_an_answer, lake_has_every_patient)
        evaluations = [evaluate(check, **resources) for check in checks]
        assert [evaluation.metadata["rejected"].value for evaluation in evaluations] == [1, 1]
        return [(evaluation.passed, evaluation.description or "") for evaluation in evaluations]

    (no_answer, waiting), (incomplete, lacking) = results()
    assert not no_answer
    assert f"1 patients wait for a prediction of their newest change, the first one is {lost}" in (
        waiting
    )
    assert not incomplete
    assert "1 of 2 patients" in lacking
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM public.diabetes_new WHERE id = %s", [lost])
    for passed, description in results():
        assert passed
        assert description.endswith("; 1 patients were rejected by the stream: see stream/rejected")
