"""The jobs over real Delta tables on Sail: what they write, count and refuse."""

from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.reconciliation import RowReconciliation
from diabetes_platform.cleaning.spark_jobs import (
    CleaningError,
    clean_batch,
    fit_statistics,
    quarantine_batch,
    require_batch,
)
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
    Table,
)
from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.lake.arrow import arrow_schema
from diabetes_platform.lake.delta import DeltaPath, LakeError
from diabetes_platform_tests.cleaning.batches import (
    Batch,
    dirty_rows,
    patients,
    raw_table,
    write_batch,
)
from diabetes_platform_tests.cleaning.results import run, stored
from diabetes_platform_tests.contract.cases import ORDINARY, Row

OTHER_HASH = "0" * 64


def cleaned_row(spark: SparkSession, lake: Path, row: Row) -> dict[str, object]:
    """The last row of a batch of ordinary patients that ends with `row`, as cleaned."""
    batch = write_batch(lake, [*patients(40), row])
    run(spark, batch)
    return stored(batch.table("cleaned"))[-1]


def test_every_row_is_accepted_or_rejected_with_its_reasons(
    spark: SparkSession, lake: Path
) -> None:
    batch = write_batch(lake, dirty_rows(1500, seed=2))
    results = run(spark, batch)
    rows = stored(batch.table("cleaned"))
    assert [row["source_line"] for row in rows] == list(range(2, 1502))
    for received, row in zip(batch.rows, rows, strict=True):
        reasons = [str(reason) for reason in reasons_to_reject(received)]
        assert row["reasons"][: len(reasons)] == reasons
        assert {reason.split(":")[1] for reason in row["reasons"][len(reasons) :]} <= {
            "outlier",
            "duplicate",
        }
        assert row["verdict"] == ("rejected" if row["reasons"] else "accepted")
        assert row["record_id"] == f"{batch.batch_id}-{row['source_line']}"
        assert {name: row[f"{name}_received"] for name in received} == received
    cleaned = results.cleaned
    assert RowReconciliation(len(batch.rows), cleaned.accepted, cleaned.rejected).balanced
    assert sum(cleaned.reasons.values()) == sum(len(row["reasons"]) for row in rows)
    assert results.quarantined == cleaned.rejected > 0
    assert cleaned.accepted > 0


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("statistics", STATISTICS_PATIENTS),
        ("cleaned", CLEANED_PATIENTS),
        ("quarantine", QUARANTINE_PATIENTS),
    ],
)
def test_tables_have_the_contracts_columns_and_types(
    spark: SparkSession, lake: Path, name: str, table: Table
) -> None:
    batch = write_batch(lake, [*patients(10), {**ORDINARY, "age": "old"}])
    run(spark, batch)
    written = DeltaTable(batch.table(name).path).to_pyarrow_dataset().schema
    expected = arrow_schema(table)
    assert {f.name: _plain(f.type) for f in written} == {f.name: _plain(f.type) for f in expected}


def _plain(arrow_type: object) -> str:
    return str(arrow_type).replace("element:", "item:").replace(" not null", "")


def test_reasons_are_ordered(spark: SparkSession, lake: Path) -> None:
    row = {**ORDINARY, "outcome": "2", "age": None, "glucose": "599", "bmi": "99"}
    ordinary = patients(
        40, glucose=lambda number: str(100 + number), bmi=lambda number: str(25 + number / 4)
    )
    batch = write_batch(lake, [row, *ordinary, row])
    run(spark, batch)
    first, *_, last = stored(batch.table("cleaned"))
    of_the_row = ["age:missing", "outcome:not_allowed", "glucose:outlier", "bmi:outlier"]
    assert first["reasons"] == of_the_row
    assert last["reasons"] == [*of_the_row, "record:duplicate"]


def test_fills_and_scales_a_missing_value_in_columns_of_their_own(
    spark: SparkSession, lake: Path
) -> None:
    ages = patients(40, glucose=lambda number: str(100 + number))
    batch = write_batch(lake, [*ages, {**ORDINARY, "glucose": "0"}])
    fitted = {row.field: row for row in run(spark, batch).statistics}["glucose"]
    assert (fitted.q1, fitted.median, fitted.q3) == (109, 119, 129)
    rows = stored(batch.table("cleaned"))
    assert rows[-1]["glucose"] is None
    assert (rows[-1]["glucose_filled"], rows[-1]["glucose_normed"]) == (119, 0)
    assert (rows[0]["glucose_filled"], rows[0]["glucose_normed"]) == (100, (100 - 119) / 20)


def test_keeps_an_invalid_value_as_received_only(spark: SparkSession, lake: Path) -> None:
    row = cleaned_row(spark, lake, {**ORDINARY, "pregnancies": "1e308", "bmi": "700"})
    assert (row["pregnancies_received"], row["bmi_received"]) == ("1e308", "700")
    assert (row["pregnancies"], row["bmi"]) == (None, None)
    assert row["reasons"] == ["pregnancies:above_maximum", "bmi:above_maximum"]


def test_does_not_fill_a_field_without_values(spark: SparkSession, lake: Path) -> None:
    batch = write_batch(lake, patients(20, insulin=lambda _: "0"))
    assert run(spark, batch).cleaned.accepted == 20
    rows = stored(batch.table("cleaned"))
    assert {row["insulin_filled"] for row in rows} == {None}
    assert {row["insulin_normed"] for row in rows} == {None}


def test_cleans_a_batch_with_an_unmeasured_field_after_one_with_values(
    spark: SparkSession, lake: Path
) -> None:
    run(spark, write_batch(lake, patients(20)))
    batch = write_batch(lake, patients(20, insulin=lambda _: None))
    assert run(spark, batch).cleaned.accepted == 20
    assert {row["insulin_filled"] for row in stored(batch.table("cleaned"))} == {None}


def test_a_constant_column_is_scaled_to_zero(spark: SparkSession, lake: Path) -> None:
    batch = write_batch(lake, patients(20, glucose=lambda _: "120"))
    assert run(spark, batch).cleaned.accepted == 20
    assert {row["glucose_normed"] for row in stored(batch.table("cleaned"))} == {0}


def test_a_batch_of_one_row(spark: SparkSession, lake: Path) -> None:
    results = run(spark, write_batch(lake, [ORDINARY]))
    assert (results.cleaned.accepted, results.cleaned.rejected) == (1, 0)
    assert results.quarantined == 0


def test_cleans_a_batch_of_rejected_rows_only(spark: SparkSession, lake: Path) -> None:
    results = run(spark, write_batch(lake, [{**ORDINARY, "age": "-7"}] * 3))
    assert (results.cleaned.accepted, results.cleaned.rejected) == (0, 3)
    assert results.cleaned.reasons == {"age:below_minimum": 3, "record:duplicate": 2}
    assert results.quarantined == 3


def test_cleans_the_requested_batch_only(spark: SparkSession, lake: Path) -> None:
    write_batch(lake, patients(30))
    second = write_batch(lake, patients(5, outcome=lambda _: "0"))
    results = run(spark, second)
    assert results.cleaned.rows == 5
    assert {row["batch_id"] for row in stored(second.table("cleaned"))} == {second.batch_id}


def test_cleaning_twice_adds_a_version_with_the_same_rows(spark: SparkSession, lake: Path) -> None:
    batch = write_batch(lake, dirty_rows(200, seed=3))
    first = run(spark, batch)
    first_rows = stored(batch.table("cleaned"))
    second = run(spark, batch)
    assert stored(batch.table("cleaned")) == first_rows
    assert second.cleaned.delta_version == first.cleaned.delta_version + 1
    assert second.statistics == first.statistics


def test_cleans_batches_from_before_and_after_a_new_optional_field(
    spark: SparkSession, lake: Path
) -> None:
    raw = DeltaPath(str(lake / "raw" / "patients"))
    old_rows, new_rows = patients(20, insulin=lambda _: None), patients(21)
    old_hash = "a" * 64
    old_table = raw_table(old_rows, old_hash).drop_columns(["insulin"])
    write_deltalake(raw.path, old_table, partition_by=["content_hash"])
    old = Batch(lake, old_hash, old_rows)
    assert run(spark, old).cleaned.accepted == 20, "the table has no such column yet"

    raw.create(RAW_PATIENTS, partition_by="content_hash")
    new = write_batch(lake, new_rows)
    assert run(spark, new).cleaned.accepted == 21
    assert {row["insulin"] for row in stored(new.table("cleaned"))} == {125.0}
    assert run(spark, old).cleaned.accepted == 20, "its files have no such column"
    assert {row["insulin"] for row in stored(old.table("cleaned"))} == {None}


def test_cleaned_and_quarantine_tables_take_a_new_optional_column(
    spark: SparkSession, lake: Path
) -> None:
    batch = write_batch(lake, [*patients(5), {**ORDINARY, "age": "-7"}])
    for name, table in (("cleaned", CLEANED_PATIENTS), ("quarantine", QUARANTINE_PATIENTS)):
        older = replace(table, columns=tuple(c for c in table.columns if "insulin" not in c.name))
        batch.table(name).create(older)

    run(spark, batch)

    assert {row["insulin_filled"] for row in stored(batch.table("cleaned"))} == {125.0}
    (rejected,) = stored(batch.table("quarantine"))
    assert rejected["insulin"] == ORDINARY["insulin"]


def test_names_a_missing_raw_table(spark: SparkSession, lake: Path) -> None:
    nowhere = DeltaPath(str(lake / "nowhere"))
    for job in (
        lambda: fit_statistics(spark, nowhere, OTHER_HASH, nowhere),
        lambda: clean_batch(spark, nowhere, OTHER_HASH, nowhere, nowhere),
        lambda: quarantine_batch(nowhere, OTHER_HASH[:12], nowhere),
    ):
        with pytest.raises(LakeError, match=f"{nowhere.path}: no Delta table"):
            job()
    assert not lake.exists()


def test_names_a_missing_batch(spark: SparkSession, lake: Path) -> None:
    batch = write_batch(lake, patients(5))
    with pytest.raises(CleaningError, match=f"no batch with content hash {OTHER_HASH}"):
        fit_statistics(spark, batch.raw, OTHER_HASH, batch.table("statistics"))


def test_rejects_statistics_of_another_batch(spark: SparkSession, lake: Path) -> None:
    first, second = write_batch(lake, patients(5)), write_batch(lake, patients(6))
    run(spark, first)
    with pytest.raises(
        CleaningError, match=f"statistics of batch .*{first.batch_id}.*expected {second.batch_id}"
    ):
        clean_batch(
            spark,
            second.raw,
            second.content_hash,
            second.table("statistics"),
            second.table("cleaned"),
        )


def test_names_a_batch_that_is_missing_in_raw(lake: Path) -> None:
    batch = write_batch(lake, [ORDINARY])
    assert require_batch(batch.raw, batch.content_hash) == 1
    with pytest.raises(CleaningError, match=f"{batch.raw.path}: no batch .* {OTHER_HASH}"):
        require_batch(batch.raw, OTHER_HASH)


def test_counts_a_batch_from_the_log(lake: Path) -> None:
    first, second = write_batch(lake, [ORDINARY] * 3), write_batch(lake, [ORDINARY] * 4)
    assert require_batch(first.raw, first.content_hash) == 3
    assert require_batch(second.raw, second.content_hash) == 4
