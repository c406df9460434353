"""Validation of a staged batch on a real PostgreSQL: outcomes and comparisons."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from diabetes_platform.local.ports import free_port
from diabetes_platform.quality.expectations import EXPECTATIONS, PreviousBatch
from diabetes_platform.quality.previous_batch import read_previous, read_reference
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.quality.validation_report import NO_OUTCOMES, NOTHING_TO_COMPARE
from diabetes_platform_tests.quality.outcomes import failed, outcome
from diabetes_platform_tests.quality.staged_batches import execute

pytestmark = pytest.mark.integration

NAMES = [spec.name for spec in EXPECTATIONS]


def promote(url: str) -> None:
    """Make what is staged the promoted version."""
    execute(
        url,
        sql.SQL("CREATE SCHEMA serving"),
        sql.SQL("CREATE TABLE serving.patients AS SELECT * FROM staging.patients_1"),
    )


def test_a_clean_batch_passes_every_expectation(warehouse: str, docs_dir: Path) -> None:
    promote(warehouse)
    report = validate_staging(warehouse, docs_dir, "run-1", previous=read_previous(warehouse))
    assert [result.name for result in report.outcomes] == NAMES
    assert failed(report) == set()
    assert {result.note for result in report.outcomes} == {None}
    assert report.passed


def test_the_first_batch_passes_with_a_note_on_each_comparison(
    warehouse: str, docs_dir: Path
) -> None:
    report = validate_staging(warehouse, docs_dir, "run-1")
    noted = {result.name for result in report.outcomes if result.note == NOTHING_TO_COMPARE}
    assert noted == {spec.name for spec in EXPECTATIONS if spec.compare is not None}
    assert report.passed


def test_validates_the_physical_table_instead_of_the_view(warehouse: str, docs_dir: Path) -> None:
    execute(warehouse, sql.SQL("DROP VIEW staging.patients"))
    report = validate_staging(warehouse, docs_dir, "run-1", table="staging.patients_1")
    assert failed(report) == set()


def test_rejects_an_empty_batch(warehouse: str, docs_dir: Path) -> None:
    execute(warehouse, sql.SQL("TRUNCATE staging.patients_1"))
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert outcome(report, "has_rows").blocks
    assert failed(report) == {"has_rows"}
    assert [result.name for result in report.outcomes] == NAMES


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE staging.patients SET outcome = NULL"],
        # Outcomes that were confirmed through the stream, all of one class.
        [
            "UPDATE staging.patients SET outcome = NULL WHERE record_id NOT LIKE '%-1_'",
            "UPDATE staging.patients SET source = 'stream/patients' WHERE record_id LIKE '%-1_'",
            "UPDATE staging.patients SET outcome = 1 WHERE source = 'stream/patients'",
        ],
    ],
)
def test_a_source_without_outcomes_is_served(
    statements: list[str], warehouse: str, docs_dir: Path
) -> None:
    execute(warehouse, *map(sql.SQL, statements))
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert failed(report) == set()
    assert outcome(report, "both_outcomes_present").note == NO_OUTCOMES


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


def test_small_shifts_warn_and_do_not_block(warehouse: str, docs_dir: Path) -> None:
    promote(warehouse)
    shifted = "UPDATE staging.patients SET bmi = bmi + 4, age_normed = age_normed + 1"
    execute(warehouse, sql.SQL(shifted))
    report = validate_staging(warehouse, docs_dir, "run-1", previous=read_previous(warehouse))
    assert failed(report) == {"bmi_distribution_near_previous_batch", "age_normed_centred"}
    assert report.passed


SURPLUS = "SELECT record_id FROM staging.patients_1 WHERE outcome = 0 LIMIT 232"
INVERTED = "UPDATE staging.patients SET outcome = 1 - outcome"
WRONG_COLUMNS = {
    "outcome inverted": (
        [INVERTED],
        {"outcome_share_near_previous_batch", "glucose_higher_with_outcome"},
    ),
    "outcome inverted, as many with as without diabetes": (
        [
            # As many patients with outcome 0 as with outcome 1.
            f"DELETE FROM staging.patients_1 WHERE record_id IN ({SURPLUS})",  # noqa: S608
            INVERTED,
        ],
        {"glucose_higher_with_outcome"},
    ),
    "skin fold and BMI exchanged": (
        [
            "UPDATE staging.patients SET skin_thickness = bmi, bmi = skin_thickness",
            "UPDATE staging.patients SET bmi = NULL WHERE bmi < 10",
        ],
        {"skin_thickness_distribution_near_previous_batch", "bmi_distribution_near_previous_batch"},
    ),
    "age in another unit": (
        ["UPDATE staging.patients SET age = least(age * 1.4, 120)"],
        {"age_distribution_near_previous_batch"},
    ),
}


@pytest.mark.parametrize("first", [True, False], ids=["first batch", "later batch"])
@pytest.mark.parametrize("name", WRONG_COLUMNS)
def test_a_wrong_column_stops_the_batch_unless_an_operator_accepts_it(
    name: str, warehouse: str, docs_dir: Path, *, first: bool
) -> None:
    statements, checks = WRONG_COLUMNS[name]
    previous: PreviousBatch | None = read_reference()
    if not first:
        promote(warehouse)
        previous = read_previous(warehouse)
    execute(warehouse, *map(sql.SQL, statements))
    report = validate_staging(warehouse, docs_dir, "run-1", previous=previous)
    blocking = {result.name for result in report.outcomes if result.blocks}
    assert checks <= blocking <= failed(report)

    reasons = dict.fromkeys(blocking, "Ada: a new clinic")
    accepted = validate_staging(warehouse, docs_dir, "run-2", previous=previous, accepted=reasons)
    assert accepted.passed
    assert failed(accepted) == failed(report)
    assert {r.name for r in accepted.outcomes if r.accepted == "Ada: a new clinic"} == blocking


SAMPLE = "(SELECT * FROM staging.patients_1 ORDER BY random() LIMIT {rows}) AS sample"
INVERTED_SAMPLE = (
    "(SELECT record_id, glucose, 1 - outcome AS outcome FROM {sample}) AS inverted".replace(
        "{sample}", SAMPLE
    )
)
SAMPLES = 200


def samples_that_fail(url: str, batch: str) -> int:
    """Draw samples of the patients, and count those in which glucose does not rise."""
    (spec,) = (s for s in EXPECTATIONS if s.name == "glucose_higher_with_outcome")
    query = sql.SQL(spec.kwargs["unexpected_rows_query"].format(batch=batch))
    with psycopg.connect(url) as connection:
        connection.execute("SELECT setseed(0.5)")
        results = [connection.execute(query).fetchall() for _ in range(SAMPLES)]
    return sum(bool(rows) for rows in results)


@pytest.mark.parametrize("rows", [20, 58, 86, 300])
def test_inverted_outcomes_of_few_patients_fail_and_good_ones_do_not(
    warehouse: str, rows: int
) -> None:
    assert samples_that_fail(warehouse, SAMPLE.format(rows=rows)) == 0
    failed_samples = samples_that_fail(warehouse, INVERTED_SAMPLE.format(rows=rows))
    assert failed_samples >= SAMPLES * (0.5 if rows < 58 else 0.97)


def test_a_value_beyond_the_bins_of_the_reference_is_in_the_outer_bin(
    warehouse: str, docs_dir: Path
) -> None:
    reference = read_reference()
    glucose = reference.partitions["glucose"]
    shorter = replace(glucose, bins=(*glucose.bins[:-1], 190.0))
    previous = replace(reference, partitions={**reference.partitions, "glucose": shorter})
    report = validate_staging(warehouse, docs_dir, "run-1", previous=previous)
    assert failed(report) == set()


def test_outcomes_of_the_stream_do_not_make_a_share_significant(
    warehouse: str, docs_dir: Path
) -> None:
    """Twenty outcomes of the source differ by chance, however many the stream confirmed."""
    few = "SELECT record_id FROM staging.patients_1 WHERE outcome = {} ORDER BY 1 LIMIT {}"
    kept = f"record_id IN ({few.format(1, 12)}) OR record_id IN ({few.format(0, 8)})"
    others = f"UPDATE staging.patients SET source = 'stream/patients' WHERE NOT ({kept})"  # noqa: S608
    execute(warehouse, sql.SQL(others))
    report = validate_staging(warehouse, docs_dir, "run-1", previous=read_reference())
    result = outcome(report, "outcome_share_near_previous_batch")
    assert (result.passed, result.blocks, result.observed) == (False, False, 0.6)


def test_the_first_batch_of_the_reference_data_passes(warehouse: str, docs_dir: Path) -> None:
    report = validate_staging(warehouse, docs_dir, "run-1", previous=read_reference())
    assert failed(report) == set()


def test_a_collapsed_row_count_names_its_limit(warehouse: str, docs_dir: Path) -> None:
    report = validate_staging(warehouse, docs_dir, "run-1", previous=PreviousBatch(2000, {}))
    result = outcome(report, "row_count_not_collapsed")
    assert (result.observed, result.allowed) == (768, "at least 1000")


def test_every_expectation_fails_if_the_database_is_down(
    docs_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://pipeline:s3cret-word@127.0.0.1:{free_port()}/diabetes"
    report = validate_staging(url, docs_dir, "run-1")
    assert [result.name for result in report.outcomes] == NAMES
    assert failed(report) == set(NAMES)
    assert all("onnect" in str(result.error) for result in report.outcomes)
    assert "s3cret-word" not in repr(report) + caplog.text


def test_every_expectation_fails_if_the_table_is_missing(database_url: str, docs_dir: Path) -> None:
    report = validate_staging(database_url, docs_dir, "run-1")
    assert failed(report) == set(NAMES)
    assert all(result.error for result in report.outcomes)


def test_outcomes_do_not_depend_on_the_page(warehouse: str, tmp_path: Path) -> None:
    file = tmp_path / "a file, not a directory"
    file.touch()
    report = validate_staging(warehouse, file, "run-1")
    assert report.passed
    assert report.docs_error == f"{file}: OSError: File exists (os error 17)"
    assert report.docs_link is None
