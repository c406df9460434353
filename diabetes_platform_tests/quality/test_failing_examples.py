"""Faults of a staged batch on a real PostgreSQL: each breaks what it must, and no more."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg import sql

from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.quality.validation_report import Observed, ValidationReport
from diabetes_platform_tests.quality.outcomes import failed, outcome
from diabetes_platform_tests.quality.staged_batches import BATCH, execute

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Fault:
    """A change of the clean batch, the checks that must fail, and what the first of them says."""

    says: str
    change: str
    fails: tuple[str, ...]
    observed: Observed = None
    unexpected: int | None = None
    record_ids: tuple[str, ...] = field(default=())


AGE_GONE = "DROP VIEW staging.patients; ALTER TABLE staging.patients_1 DROP COLUMN age;"
VIEW = "CREATE VIEW staging.patients AS SELECT * FROM staging.patients_1"

IN_ROWS = [
    Fault(
        "an outcome of 2",
        "UPDATE staging.patients SET outcome = 2 WHERE record_id LIKE '%-9'",
        ("outcome_allowed",),
        observed=1,
        unexpected=1,
        record_ids=(f"{BATCH}-9",),
    ),
    Fault(
        "a missing age",
        "UPDATE staging.patients SET age = NULL WHERE record_id LIKE '%-5'",
        ("no_missing_age",),
        observed=1,
        unexpected=1,
        record_ids=(f"{BATCH}-5",),
    ),
    Fault(
        "a BMI of 700",
        "UPDATE staging.patients SET bmi = 700 WHERE record_id LIKE '%-7'",
        ("bmi_in_range",),
        observed=1,
        unexpected=1,
        record_ids=(f"{BATCH}-7",),
    ),
    Fault(
        "a value that is not a number",
        "UPDATE staging.patients SET bmi_filled = 'NaN' WHERE record_id LIKE '%-7'",
        ("bmi_filled_in_range",),
        observed=1,
        unexpected=1,
        record_ids=(f"{BATCH}-7",),
    ),
    Fault(
        "a patient twice, without an insulin value",
        "UPDATE staging.patients_1 SET (pregnancies, glucose, blood_pressure, skin_thickness,"
        " insulin, bmi, diabetes_pedigree_function, age, outcome) = (6, 140, 72, 35, NULL, 33,"
        " 0.6, 50, 1) WHERE record_id LIKE '%-10' OR record_id LIKE '%-20'",
        ("no_duplicate_patients",),
        observed=2,
        unexpected=2,
        record_ids=(f"{BATCH}-10", f"{BATCH}-20"),
    ),
    Fault(
        "two rows from one line of the source",
        "UPDATE staging.patients SET record_id = '5f0e1d2c3b4a-2' WHERE record_id LIKE '%-3'",
        ("no_duplicate_record_ids",),
        observed=2,
        unexpected=2,
        record_ids=(f"{BATCH}-2", f"{BATCH}-2"),
    ),
    Fault(
        "rows of another batch",
        "UPDATE staging.patients SET batch_id = 'other' WHERE record_id LIKE '%-2'",
        ("single_batch",),
        observed=2,
    ),
    Fault(
        "rows of another file",
        "UPDATE staging.patients SET source = 'other.csv' WHERE record_id LIKE '%-2'",
        ("single_source",),
        observed=2,
    ),
]
"""Each touches other rows or columns than the others."""
OF_ALL_ROWS = [
    Fault(
        "insulin measured nowhere",
        "UPDATE staging.patients SET insulin = NULL",
        ("enough_insulin_measured", "insulin_mean_plausible"),
        observed=0.0,
    ),
    Fault(
        "all outcomes 0",
        "UPDATE staging.patients SET outcome = 0",
        ("both_outcomes_present", "outcome_mean_plausible"),
        observed=1,
    ),
    Fault(
        "no row of the file, all of the stream",
        "UPDATE staging.patients SET source = 'stream/patients'",
        ("single_source",),
        observed=0,
    ),
]
"""Each touches another column."""
OF_THE_COLUMNS = [
    Fault(
        "a missing column",
        AGE_GONE + VIEW,
        (
            "has_expected_column_types",
            "has_expected_columns",
            "no_duplicate_patients",
            "no_missing_age",
            "age_in_range",
            "age_mean_plausible",
        ),
        observed="age: missing, expected DOUBLE PRECISION",
    ),
    Fault(
        "a column of another type",
        "DROP VIEW staging.patients; ALTER TABLE staging.patients_1 ALTER age TYPE integer;" + VIEW,
        ("has_expected_column_types",),
        observed="age: INTEGER, expected DOUBLE PRECISION",
    ),
    Fault(
        "one more column",
        "CREATE OR REPLACE VIEW staging.patients AS SELECT *, 1 AS risk FROM staging.patients_1",
        ("has_expected_columns",),
    ),
]


def stage(url: str, *faults: Fault) -> None:
    for fault in faults:
        execute(url, *(sql.SQL(each) for each in fault.change.split(";")))


def assert_found(report: ValidationReport, fault: Fault) -> None:
    first = outcome(report, fault.fails[0])
    assert not first.passed
    if fault.observed is not None:
        assert first.observed == fault.observed
    assert first.unexpected_count == fault.unexpected
    assert set(first.record_ids) == set(fault.record_ids)


def test_patients_of_the_stream_may_be_in_the_batch_of_a_file(
    warehouse: str, docs_dir: Path
) -> None:
    mixed = "UPDATE staging.patients SET source = 'stream/patients' WHERE record_id LIKE '%-2%'"
    execute(warehouse, sql.SQL(mixed))
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert (failed(report), report.docs_error) == (set(), None)


@pytest.mark.parametrize("faults", [IN_ROWS, OF_ALL_ROWS], ids=["in some rows", "in all rows"])
def test_faults_of_several_columns_fail_their_checks_and_no_other(
    faults: list[Fault], warehouse: str, docs_dir: Path
) -> None:
    stage(warehouse, *faults)
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert failed(report) == {name for fault in faults for name in fault.fails}
    assert not report.passed
    for fault in faults:
        assert_found(report, fault)
        assert outcome(report, fault.fails[0]).error is None


@pytest.mark.parametrize("fault", OF_THE_COLUMNS, ids=lambda fault: fault.says)
def test_a_fault_of_the_columns_fails_its_checks_and_no_other(
    fault: Fault, warehouse: str, docs_dir: Path
) -> None:
    stage(warehouse, fault)
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert failed(report) == set(fault.fails)
    assert not report.passed
    assert_found(report, fault)
    for name in ("no_missing_age", "age_in_range"):
        if name in fault.fails:
            assert 'column "age"' in str(outcome(report, name).error)


def test_a_fault_in_every_row_is_counted_and_twenty_are_named(
    warehouse: str, docs_dir: Path
) -> None:
    execute(warehouse, sql.SQL("UPDATE staging.patients SET glucose_filled = glucose_filled / 18"))
    found = outcome(validate_staging(warehouse, docs_dir, "run-1"), "glucose_filled_in_range")
    assert (found.unexpected_count, found.element_count) == (768, 768)
    assert len(set(found.record_ids)) == 20
