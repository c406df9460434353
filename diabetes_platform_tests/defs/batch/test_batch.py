"""The batch graph on the real data: raw to released model, and what a bad batch may not do."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from diabetes_platform.defs.alerts.run_failures import describe_failure
from diabetes_platform.defs.batch.staging import staging_expectations
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.orchestration.resources import build_resources
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.settings import PIMA_CSV, PlatformSettings
from diabetes_platform_tests.defs.conftest import Platform

pytestmark = pytest.mark.integration
Write = Callable[..., Path]

COMPUTED = ["raw/patients", "statistics/patients", "cleaned/patients", "quarantine/patients"]


def failed_checks(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        check.check_name
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    }


def test_the_pima_data_becomes_a_served_table_and_a_released_model(platform: Platform) -> None:
    result = platform.run()

    assert result.success
    assert failed_checks(result) == set()
    assert platform.metadata("raw/patients")["dagster/row_count"] == 768
    cleaned = platform.metadata("cleaned/patients")
    assert (cleaned["accepted"], cleaned["rejected"]) == (766, 2)
    assert platform.served() == [(str(cleaned["batch_id"]), 766)]
    candidate = platform.metadata("model/candidate")
    assert platform.champion() == candidate["model_version"]
    assert 0.78 < float(str(candidate["auc"])) < 0.90
    assert {"plot/roc", "plot/calibration", "plot/importance"} <= set(candidate)


@pytest.mark.slow
def test_skips_unchanged_input(serving: Platform) -> None:
    champion = serving.champion()

    result = serving.run()

    assert result.success
    assert not serving.metadata("raw/patients")["added"]
    for key in ("statistics/patients", "cleaned/patients", "quarantine/patients"):
        assert serving.metadata(key)["processed"] is False
    assert serving.metadata("staging/patients")["processed"] is False
    assert serving.metadata("serving/patients")["changed"] is False
    assert serving.metadata("model/candidate")["processed"] is False
    assert "plot/roc" in serving.metadata("model/candidate")
    assert serving.metadata("model/champion")["released"] is False
    assert serving.champion() == champion
    assert len(result.get_asset_check_evaluations()) == len(EXPECTATIONS) + 8


def all_outcomes_zero(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {"outcome": "0"}


def no_insulin(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {"insulin": "0"}


def first_hundred(row: dict[str, str], n: int) -> dict[str, str] | None:
    return row if n < 100 else None


def shuffled_outcomes(row: dict[str, str], n: int) -> dict[str, str]:
    # With this seed, glucose is a little higher with the outcome: staging accepts the batch.
    return row | {"outcome": str(int(random.Random(9000 + n).random() < 0.35))}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        pytest.param(all_outcomes_zero, "both_outcomes_present", marks=pytest.mark.slow),
        pytest.param(no_insulin, "enough_insulin_measured", marks=pytest.mark.slow),
        (first_hundred, "row_count_not_collapsed"),
    ],
)
def test_a_bad_batch_changes_neither_the_served_table_nor_the_model(
    serving: Platform, pima_with: Write, change: Callable[..., object], check: str
) -> None:
    current = serving.served(), serving.champion()

    result = serving.run(pima_with("bad", change))

    assert not result.success
    assert check in failed_checks(result)
    assert (serving.served(), serving.champion()) == current


@pytest.mark.slow
def test_quarantines_a_batch_of_rejected_rows_only(platform: Platform, tmp_path: Path) -> None:
    source = tmp_path / "rejected.csv"
    header = PIMA_CSV.read_text().splitlines()[0]
    source.write_text(f"{header}\n" + "x,NaN,inf,1e308,-1,700,abc,-8,2\n" * 3)

    result = platform.run(source)

    assert not result.success
    assert failed_checks(result) == {"few_rows_rejected"}
    assert platform.metadata("quarantine/patients")["dagster/row_count"] == 3
    assert platform.served() == []


def missing_as_na(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {name: "NA" for name in ("insulin", "skin_thickness", "bmi") if row[name] == "0"}


def glucose_in_mmol_per_litre(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {"glucose": f"{float(row['glucose']) / 18:.1f}"}


@pytest.mark.slow
def test_missing_values_written_as_na_cost_no_row(serving: Platform, pima_with: Write) -> None:
    assert serving.run(pima_with("na", missing_as_na)).success
    cleaned = serving.metadata("cleaned/patients")
    assert (cleaned["accepted"], cleaned["rejected"]) == (766, 2)


@pytest.mark.slow
def test_a_mix_up_of_units_ends_in_one_message_that_names_it(
    serving: Platform, pima_with: Write
) -> None:
    current = serving.served(), serving.champion()

    result = serving.run(pima_with("mmol", glucose_in_mmol_per_litre))

    assert not result.success
    assert failed_checks(result) == {"few_rows_rejected"}
    alert = describe_failure(serving.instance, result.run_id, "http://dagster")
    message = str(alert.facts["message"])
    assert message.startswith("768 rows: ")
    assert "rejected: glucose:below_minimum 763" in message
    assert (serving.served(), serving.champion()) == current


def inverted_outcomes(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {"outcome": str(1 - int(row["outcome"]))}


def glucose_and_insulin_exchanged(row: dict[str, str], _: int) -> dict[str, str]:
    return row | {"glucose": row["insulin"], "insulin": row["glucose"]}


WRONG_COLUMNS = [
    (inverted_outcomes, "outcome_share_near_previous_batch"),
    (glucose_and_insulin_exchanged, "glucose_distribution_near_previous_batch"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "check"), WRONG_COLUMNS)
def test_wrong_columns_stop_a_first_batch(
    platform: Platform, pima_with: Write, change: Callable[..., object], check: str
) -> None:
    result = platform.run(pima_with("wrong", change))
    assert not result.success
    failed = failed_checks(result)
    # Exchanged values can be out of range in so many rows that these stop the batch first.
    assert failed == {"few_rows_rejected"} or check in failed
    assert platform.served() == []


@pytest.mark.slow
def test_wrong_columns_stop_a_later_batch(serving: Platform, pima_with: Write) -> None:
    current = serving.served(), serving.champion()
    for number, (change, check) in enumerate(WRONG_COLUMNS):
        result = serving.run(pima_with(f"wrong{number}", change))
        failed = failed_checks(result)
        assert failed == {"few_rows_rejected"} or check in failed
        assert (serving.served(), serving.champion()) == current


@pytest.mark.slow
def test_an_operator_accepts_a_smaller_batch_by_name_and_reason(
    serving: Platform, pima_with: Write
) -> None:
    small = pima_with("small", lambda row, n: row if n % 3 == 0 else None)
    assert "row_count_not_collapsed" in failed_checks(serving.run(small))

    acceptance = Acceptance(
        accept={"row_count_not_collapsed": "a clinic closed"}, accepted_by="ada"
    )
    serving.run(small, acceptance=acceptance)

    ((_, rows),) = serving.served()
    assert 200 < rows < 300
    verdict = "row_count_not_collapsed accepted by ada: a clinic closed"
    assert serving.metadata("serving/patients")["verdict"] == verdict


@pytest.mark.slow
def test_accepted_rejected_rows_do_not_stop_the_next_run_of_the_same_batch(
    serving: Platform, pima_with: Write
) -> None:
    source = pima_with("third", lambda row, n: row | {"age": "?"} if n % 3 == 0 else row)
    assert failed_checks(serving.run(source)) == {"few_rows_rejected"}
    acceptance = Acceptance(accept={"few_rows_rejected": "known"}, accepted_by="ada")

    serving.run(source, acceptance=acceptance)

    ((_, rows),) = serving.served()
    assert 500 < rows < 520
    assert "few_rows_rejected" not in failed_checks(serving.run(source))


@pytest.mark.slow
def test_rejected_rows_below_the_limit_only_warn(serving: Platform, pima_with: Write) -> None:
    result = serving.run(
        pima_with("some", lambda row, n: row | {"age": "?"} if n % 10 == 0 else row)
    )
    assert "few_rows_rejected" not in failed_checks(result)
    evaluations = {check.check_name: check for check in result.get_asset_check_evaluations()}
    check = evaluations["few_rows_rejected"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "age:missing 77" in str(check.description)


@pytest.mark.slow
def test_a_model_that_does_not_beat_the_champion_is_not_released(
    serving: Platform, pima_with: Write
) -> None:
    champion = serving.champion()

    result = serving.run(pima_with("shuffled", shuffled_outcomes))

    assert not result.success
    assert {"beats_baseline", "beats_champion"} & failed_checks(result)
    assert serving.champion() == champion


def test_a_missing_source_fails_without_a_retry(platform: Platform, tmp_path: Path) -> None:
    result = platform.run(tmp_path / "absent.csv")

    assert not result.success
    events = [event.event_type_value for event in result.all_events]
    assert "STEP_UP_FOR_RETRY" not in events
    (failure,) = result.get_step_failure_events()
    assert "does not exist" in str(failure.step_failure_data.error)


def test_every_expectation_has_a_failed_result_when_the_database_is_gone(tmp_path: Path) -> None:
    settings = PlatformSettings.model_validate(
        {"home": tmp_path, "warehouse_url": "postgresql://nobody:secret@127.0.0.1:1/none"}
    )
    result = dg.materialize(
        [staging_expectations],
        selection=dg.AssetSelection.all_asset_checks(),
        resources=build_resources(lambda: settings),
        raise_on_error=False,
    )

    evaluations = result.get_asset_check_evaluations()
    assert {check.check_name for check in evaluations} == {spec.name for spec in EXPECTATIONS}
    assert not any(check.passed for check in evaluations)
    assert "secret" not in json.dumps([str(check.metadata) for check in evaluations])
