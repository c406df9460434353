"""Faults of a staged batch on a real PostgreSQL: every expectation has one that it detects."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from psycopg import sql

from diabetes_platform.contract.fields import FEATURES, FIELDS, OUTCOME
from diabetes_platform.contract.tables import FILLED, NORMED, STAGING_PATIENTS
from diabetes_platform.quality.expectations import EXPECTATIONS, Partition, PreviousBatch
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


def update(*assignments: str, where: str = "true") -> str:
    return f"UPDATE staging.patients_1 SET {', '.join(assignments)} WHERE {where}"  # noqa: S608


AGE_GONE = "DROP VIEW staging.patients; ALTER TABLE staging.patients_1 DROP COLUMN age;"
REPEATED_VALUES = {f.name: f.example + 0.25 * (f.kind == "number") for f in FIELDS}
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
        update(
            *(f"{name} = {value}" for name, value in REPEATED_VALUES.items() if name != "insulin"),
            "insulin = NULL",
            where="record_id LIKE '%-10' OR record_id LIKE '%-20'",
        ),
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
        ("enough_insulin_measured",),
        observed=0.0,
    ),
    Fault(
        "all outcomes 0",
        "UPDATE staging.patients SET outcome = 0",
        ("both_outcomes_present", "outcome_mean_plausible"),
        observed=1,
    ),
]
"""Each touches another column."""
OF_THE_SOURCE = [
    Fault(
        "no row of the file, all of the stream",
        "UPDATE staging.patients SET source = 'stream/patients'",
        ("single_source",),
        observed=0,
    ),
]
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
        "columns in another order",
        ";".join(
            [
                AGE_GONE + "ALTER TABLE staging.patients_1 ADD COLUMN age double precision",
                update("age = 30 + pregnancies"),
                VIEW,
            ]
        ),
        (),
    ),
    Fault(
        "one more column",
        "CREATE OR REPLACE VIEW staging.patients AS SELECT *, 1 AS risk FROM staging.patients_1",
        ("has_expected_columns",),
    ),
]


def measured_before(*names: str) -> PreviousBatch:
    """A promoted version of as many rows that measured these features at their minimum."""
    edges = {
        f.name: (float(f.minimum), float(f.minimum + f.step), float(f.maximum)) for f in FEATURES
    }
    return PreviousBatch(768, {name: Partition(edges[name], (0.999, 0.001), 768) for name in names})


def stage(url: str, *faults: Fault) -> None:
    for fault in faults:
        execute(url, *(sql.SQL(statement) for statement in fault.change.split(";")))


def assert_detected(report: ValidationReport, fault: Fault) -> None:
    first = outcome(report, fault.fails[0])
    assert not first.passed
    if fault.observed is not None:
        assert first.observed == fault.observed
    assert first.unexpected_count == fault.unexpected
    assert set(first.record_ids) == set(fault.record_ids)


def test_accepts_patients_of_the_stream_in_the_batch_of_a_file(
    warehouse: str, docs_dir: Path
) -> None:
    mixed = "UPDATE staging.patients SET source = 'stream/patients' WHERE record_id LIKE '%-2%'"
    execute(warehouse, sql.SQL(mixed))
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert (failed(report), report.docs_error) == (set(), None)


@pytest.mark.parametrize(
    "faults",
    [IN_ROWS, OF_ALL_ROWS, OF_THE_SOURCE],
    ids=["in some rows", "in all rows", "in the source"],
)
def test_faults_fail_their_own_expectations_only(
    faults: list[Fault], warehouse: str, docs_dir: Path
) -> None:
    stage(warehouse, *faults)
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert failed(report) == {name for fault in faults for name in fault.fails}
    assert not report.passed
    for fault in faults:
        assert_detected(report, fault)
        assert outcome(report, fault.fails[0]).error is None


@pytest.mark.parametrize("fault", OF_THE_COLUMNS, ids=lambda fault: fault.says)
def test_a_schema_fault_fails_its_own_expectations_only(
    fault: Fault, warehouse: str, docs_dir: Path
) -> None:
    stage(warehouse, fault)
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert failed(report) == set(fault.fails)
    assert report.passed is (not fault.fails)
    if fault.fails:
        assert_detected(report, fault)
    for name in ("no_missing_age", "age_in_range"):
        if name in fault.fails:
            assert 'column "age"' in str(outcome(report, name).error)


def test_counts_a_fault_in_every_row_and_names_twenty_rows(warehouse: str, docs_dir: Path) -> None:
    execute(warehouse, sql.SQL("UPDATE staging.patients SET glucose_filled = glucose_filled / 18"))
    result = outcome(validate_staging(warehouse, docs_dir, "run-1"), "glucose_filled_in_range")
    assert (result.unexpected_count, result.element_count) == (768, 768)
    assert len(set(result.record_ids)) == 20


def test_every_expectation_has_an_example_that_makes_it_fail(
    warehouse: str, docs_dir: Path
) -> None:
    """One batch has a fault for every expectation, made from the contract; one batch is empty.

    Inverted outcomes are a batch of their own, because the first one has no allowed outcome.
    A new expectation fails this test until `broken_batch` contains a fault for it.
    """
    invert = sql.SQL("UPDATE staging.patients SET outcome = 1 - outcome")
    execute(warehouse, invert)
    inverted = validate_staging(warehouse, docs_dir, "run-0")
    execute(warehouse, invert, *map(sql.SQL, broken_batch()))
    previous = replace(
        measured_before(*(f.name for f in FEATURES)), row_count=7680, outcome_share=0.35
    )
    broken = validate_staging(warehouse, docs_dir, "run-1", previous=previous)
    execute(warehouse, sql.SQL("TRUNCATE staging.patients_1"))
    empty = validate_staging(warehouse, docs_dir, "run-2")

    failures = failed(broken) | failed(inverted) | (failed(empty) & {"has_rows"})
    without_example = {spec.name for spec in EXPECTATIONS} - failures
    assert not without_example, "add a fault to broken_batch for these expectations"
    assert [o.name for o in broken.outcomes if o.error is not None] == []


def broken_batch() -> list[str]:
    """Statements that violate every expectation but `has_rows` in the staged batch."""
    integers = [f.name for f in FEATURES if f.kind == "integer"]
    optional = [f.name for f in FEATURES if not f.required]
    required = [column.name for column in STAGING_PATIENTS.columns if not column.nullable]
    required.sort(key="record_id".__eq__)  # last, because it selects the rows
    return [
        "DROP VIEW staging.patients",
        "ALTER TABLE staging.patients_1 ADD COLUMN unexpected integer",
        *(f"ALTER TABLE staging.patients_1 ALTER {name} TYPE float8" for name in integers),
        # Means, distributions and duplicates: the same extreme values in every row.
        update(*(f"{f.name} = {f.maximum}" for f in FEATURES), f"{OUTCOME.name} = 2"),
        update(*(f"{column.name} = {column.name} + 5" for column in NORMED)),
        update(*(f"{name} = NULL" for name in optional), where="record_id NOT LIKE '%-7__'"),
        # Ranges and whole numbers: fractions beyond the maximum in some measured rows.
        update(
            *(f"{f.name} = {f.maximum} + 0.5" for f in FEATURES), where="record_id LIKE '%-7_1'"
        ),
        update(*(f"{column.name} = -1" for column in FILLED), where="record_id LIKE '%-7_2'"),
        update("batch_id = 'other'", "source = 'other.csv'", where="record_id LIKE '%-7_3'"),
        update(f"record_id = '{BATCH}-2'", where="record_id LIKE '%-3'"),
        *(
            update(f"{name} = NULL", where=f"record_id LIKE '%-{number}'")
            for number, name in enumerate(required, start=100)
        ),
        VIEW,
    ]
