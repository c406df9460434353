"""Validation of a staged batch on a real PostgreSQL: each fault breaks what it must, no more."""

import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.launcher.ports import free_port
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.quality.previous import read_previous
from diabetes_platform.quality.report import (
    NOTHING_TO_COMPARE,
    ExpectationOutcome,
    Observed,
    ValidationReport,
)
from diabetes_platform.quality.specification import PreviousBatch
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform_tests.quality.staged_batches import BATCH

pytestmark = pytest.mark.integration

NAMES = [spec.name for spec in EXPECTATIONS]


def failed(report: ValidationReport) -> set[str]:
    return {outcome.name for outcome in report.outcomes if not outcome.passed}


def outcome(report: ValidationReport, name: str) -> ExpectationOutcome:
    (found,) = (each for each in report.outcomes if each.name == name)
    return found


def execute(url: str, *statements: sql.SQL) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def promote(url: str) -> None:
    """Make what is staged the promoted version."""
    execute(
        url,
        sql.SQL("CREATE SCHEMA serving"),
        sql.SQL("CREATE TABLE serving.patients AS SELECT * FROM staging.patients_1"),
    )


def test_a_clean_batch_passes_every_check(warehouse: str, docs_dir: Path) -> None:
    promote(warehouse)
    report = validate_staging(warehouse, docs_dir, "run-1", previous=read_previous(warehouse))
    assert [each.name for each in report.outcomes] == NAMES
    assert failed(report) == set()
    assert {each.note for each in report.outcomes} == {None}
    assert report.passed


def test_the_first_batch_passes_with_a_note_on_each_comparison(
    warehouse: str, docs_dir: Path
) -> None:
    report = validate_staging(warehouse, docs_dir, "run-1")
    noted = {each.name for each in report.outcomes if each.note == NOTHING_TO_COMPARE}
    assert noted == {spec.name for spec in EXPECTATIONS if spec.compare is not None}
    assert report.passed


def test_the_physical_table_can_be_validated_in_the_view_s_place(
    warehouse: str, docs_dir: Path
) -> None:
    execute(warehouse, sql.SQL("DROP VIEW staging.patients"))
    report = validate_staging(warehouse, docs_dir, "run-1", table="staging.patients_1")
    assert failed(report) == set()


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


def test_an_empty_batch_is_refused(warehouse: str, docs_dir: Path) -> None:
    execute(warehouse, sql.SQL("TRUNCATE staging.patients_1"))
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert outcome(report, "has_rows").blocks
    assert outcome(report, "both_outcomes_present").blocks
    assert [each.name for each in report.outcomes] == NAMES


@pytest.mark.parametrize(
    ("previous_rows", "fails", "passed"),
    [
        (600, {"row_count_near_previous_batch"}, True),
        (2000, {"row_count_near_previous_batch", "row_count_not_collapsed"}, False),
    ],
)
def test_the_row_count_is_compared_with_the_promoted_version(
    previous_rows: int, fails: set[str], warehouse: str, docs_dir: Path, *, passed: bool
) -> None:
    previous = PreviousBatch(previous_rows, {})
    report = validate_staging(warehouse, docs_dir, "run-1", previous=previous)
    assert (failed(report), report.passed) == (fails, passed)


def test_shifts_warn_and_do_not_block(warehouse: str, docs_dir: Path) -> None:
    promote(warehouse)
    shifted = "UPDATE staging.patients SET age = age + 15, bmi_normed = bmi_normed + 1"
    execute(warehouse, sql.SQL(shifted))
    report = validate_staging(warehouse, docs_dir, "run-1", previous=read_previous(warehouse))
    assert failed(report) == {"age_distribution_near_previous_batch", "bmi_normed_centred"}
    assert report.passed


def test_no_patient_s_value_leaves_the_warehouse(
    warehouse: str, docs_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    execute(
        warehouse,
        sql.SQL("UPDATE staging.patients SET bmi = 731.4159 WHERE record_id LIKE '%5'"),
        sql.SQL("UPDATE staging.patients SET outcome = 7351 WHERE record_id LIKE '%6'"),
        sql.SQL("UPDATE staging.patients SET pregnancies = 9137 WHERE record_id LIKE '%7'"),
    )
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert {"bmi_in_range", "outcome_allowed", "pregnancies_in_range"} <= failed(report)
    written = [path.read_text(encoding="utf-8") for path in docs_dir.rglob("*") if path.is_file()]
    for text in (repr(report), caplog.text, *written):
        assert "731.4" not in text
        assert "7351" not in text
        assert "9137" not in text


def test_where_the_database_is_down_every_check_fails(
    docs_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://pipeline:s3cret-word@127.0.0.1:{free_port()}/diabetes"
    report = validate_staging(url, docs_dir, "run-1")
    assert [each.name for each in report.outcomes] == NAMES
    assert failed(report) == set(NAMES)
    assert all("onnect" in str(each.error) for each in report.outcomes)
    assert "s3cret-word" not in repr(report) + caplog.text


def test_where_the_table_is_absent_every_check_fails(database_url: str, docs_dir: Path) -> None:
    report = validate_staging(database_url, docs_dir, "run-1")
    assert failed(report) == set(NAMES)
    assert all(each.error for each in report.outcomes)


def test_a_verdict_stands_without_its_page(warehouse: str, tmp_path: Path) -> None:
    file = tmp_path / "a file, not a directory"
    file.touch()
    report = validate_staging(warehouse, file, "run-1")
    assert report.passed
    assert "NotADirectoryError" in str(report.docs_error)
    assert {each.docs_link for each in report.outcomes} == {None}


SPY = """
import sys
from pathlib import Path

def spy(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print(event, arguments, file=sys.stderr)

sys.addaudithook(spy)
from diabetes_platform.quality.validate import validate_staging
report = validate_staging(sys.argv[1], Path(sys.argv[2]), "run-1")
print(report.passed, report.docs_link, {each.error for each in report.outcomes})
"""


def run_python(*arguments: str, work: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "HOME": str(home),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=work,
        env=environment,
    )


@pytest.mark.slow
def test_nothing_is_sent_and_nothing_is_written_outside_the_docs(
    warehouse: str, docs_dir: Path, tmp_path: Path
) -> None:
    home, work, script = tmp_path / "home", tmp_path / "work", tmp_path / "spy.py"
    home.mkdir()
    work.mkdir()
    script.write_text(SPY, encoding="utf-8")
    done = run_python(str(script), warehouse, str(docs_dir), work=work, home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True validations/run-1.html {None}\n"
    assert not list(home.rglob("*"))
    assert not list(work.rglob("*"))
    assert {path.name for path in docs_dir.iterdir()} == {"index.html", "validations"}


def test_an_import_that_ends_the_interpreter_fails_every_check(
    warehouse: str, docs_dir: Path, tmp_path: Path
) -> None:
    # Under `python -c`, Spark's client calls sys.exit when Great Expectations imports it.
    done = run_python("-c", SPY, warehouse, str(docs_dir), work=tmp_path, home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("False None {'ImportError: Great Expectations ")
