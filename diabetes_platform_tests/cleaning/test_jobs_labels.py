"""Batches with labels of the stream, on Sail: cleaned with the source's rows by the same rules."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.reconciliation import RowReconciliation
from diabetes_platform.cleaning.spark_jobs import (
    CleaningError,
    Labels,
    batch_hash,
    fit_statistics,
    require_labels,
)
from diabetes_platform.contract.tables import LABELLED_PATIENTS, batch_id_of
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform_tests.cleaning.batches import patients, write_batch
from diabetes_platform_tests.cleaning.results import run, stored
from diabetes_platform_tests.contract.cases import ORDINARY
from diabetes_platform_tests.intakes import Row, changed, stream
from diabetes_platform_tests.samples import EXAMPLE

STREAM = "stream/patients"


def labels_of(root: Path, *rows: Row) -> Labels:
    """Bring the changes by the stream and keep what labels they give."""
    lake = Lake(str(root))
    stream(lake, *rows)
    kept = update_labels(lake)
    return Labels(lake.table(LABELLED_PATIENTS), kept.version, kept.content_hash)


def by_record(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    return {str(row["record_id"]).partition("-")[2]: row for row in rows}


def test_labels_become_rows_of_the_batch_with_their_origin(spark: SparkSession, lake: Path) -> None:
    labels = labels_of(lake, changed(1, 10, outcome=1), changed(70, 11, outcome=0, insulin=None))
    batch = write_batch(lake, patients(40))

    cleaned = run(spark, batch, labels).cleaned

    assert RowReconciliation(40, cleaned.accepted, cleaned.rejected, labelled=2).balanced
    rows = by_record(stored(batch.table("cleaned")))
    assert len(rows) == 42
    batch_id = batch_id_of(batch_hash(batch.content_hash, labels))
    assert {row["batch_id"] for row in rows.values()} == {batch_id} != {batch.batch_id}
    label, incomplete = rows["intake-1"], rows["intake-70"]
    assert (label["source"], label["source_line"], label["outcome"]) == (STREAM, 1, 1)
    assert {name: label[name] for name in EXAMPLE} == EXAMPLE
    assert (incomplete["insulin"], incomplete["verdict"]) == (None, "accepted")
    assert incomplete["insulin_filled"] is not None
    assert {row["source"] for row in rows.values()} == {"sample", STREAM}


def test_without_labels_the_batch_is_that_of_its_source(spark: SparkSession, lake: Path) -> None:
    batch = write_batch(lake, patients(40))
    run(spark, batch)
    assert {row["batch_id"] for row in stored(batch.table("cleaned"))} == {batch.batch_id}
    assert batch.batch_id == batch.content_hash[:12]


def test_statistics_are_fitted_on_source_and_labels(spark: SparkSession, lake: Path) -> None:
    batch = write_batch(lake, patients(3, glucose=lambda _: "100"))
    labels = labels_of(lake, *(changed(n, n, outcome=1, glucose=200.0 + n) for n in range(4, 10)))
    fitted = {row.field: row for row in run(spark, batch, labels).statistics}
    assert (fitted["glucose"].count, fitted["glucose"].median) == (9, 205)


def test_a_label_that_duplicates_a_source_row_is_rejected(spark: SparkSession, lake: Path) -> None:
    """Its intake's id is lower than any line, and it is written in another way."""
    batch = write_batch(lake, [*patients(20), ORDINARY])
    labels = labels_of(
        lake,
        changed(1, 10, outcome=1),
        changed(2, 11, outcome=0),
        changed(3, 12, outcome=0),
    )
    run(spark, batch, labels)
    rows = by_record(stored(batch.table("cleaned")))
    reasons = {key: row["reasons"] for key, row in rows.items() if row["reasons"]}
    # Intake 2 has another outcome than the source's row, and intake 3 equals intake 2.
    assert reasons == {"intake-1": ["record:duplicate"], "intake-3": ["record:duplicate"]}


def test_quarantines_a_rejected_label_with_reasons_and_origin(
    spark: SparkSession, lake: Path
) -> None:
    labels = labels_of(
        lake,
        changed(1, 10, outcome=1, bmi=700.0, age=7.0),
        changed(2, 11, outcome=1, glucose=599.0),
        changed(3, 12, outcome=0),
    )
    batch = write_batch(lake, patients(40, glucose=lambda number: str(100 + number)))
    assert run(spark, batch, labels).quarantined == 2
    kept = by_record(stored(batch.table("quarantine")))
    assert set(kept) == {"intake-1", "intake-2"}
    assert kept["intake-1"]["reasons"] == ["bmi:above_maximum", "age:below_minimum"]
    assert kept["intake-2"]["reasons"] == ["glucose:outlier"]
    assert {row["source"] for row in kept.values()} == {STREAM}
    assert (kept["intake-1"]["bmi"], kept["intake-1"]["outcome"]) == ("700", "1")


def test_cleans_an_old_batch_with_its_version_of_the_labels(
    spark: SparkSession, lake: Path
) -> None:
    batch = write_batch(lake, patients(40))
    first = labels_of(lake, changed(1, 10, outcome=1))
    run(spark, batch, first)
    first_rows = stored(batch.table("cleaned"))
    second = labels_of(lake, changed(1, 11, outcome=0), changed(2, 12, outcome=1))
    assert run(spark, batch, second).cleaned.rows == 42

    run(spark, batch, first)

    assert stored(batch.table("cleaned")) == first_rows


def test_rejects_labels_with_another_content_hash(spark: SparkSession, lake: Path) -> None:
    first = labels_of(lake, changed(1, 10, outcome=1))
    second = labels_of(lake, changed(2, 11, outcome=1))
    assert (require_labels(first), require_labels(second)) == (1, 2)
    batch = write_batch(lake, patients(5))
    other = Labels(first.table, second.version, first.content_hash)
    with pytest.raises(CleaningError, match=f"version {second.version} has content hash"):
        fit_statistics(spark, batch.raw, batch.content_hash, batch.table("statistics"), other)
