"""The quarantine over real Delta tables: each batch's rejected rows, once, as received."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.spark_jobs import CleaningError, quarantine_batch
from diabetes_platform.lake.delta import DeltaPath
from diabetes_platform_tests.cleaning.batches import patients, write_batch
from diabetes_platform_tests.cleaning.results import run, stored
from diabetes_platform_tests.contract.cases import ORDINARY


def test_rejected_rows_are_kept_as_received_with_all_their_reasons(
    spark: SparkSession, lake: Path
) -> None:
    row = {**patients(3)[2], "age": " -7", "bmi": "700"}
    batch = write_batch(lake, [*patients(5), row])
    run(spark, batch)
    (kept,) = stored(batch.table("quarantine"))
    assert {name: kept[name] for name in row} == row
    assert kept["reasons"] == ["bmi:above_maximum", "age:below_minimum"]
    assert (kept["source_line"], kept["record_id"]) == (7, f"{batch.batch_id}-7")


def test_quarantine_keeps_each_batch_once(spark: SparkSession, lake: Path) -> None:
    first = write_batch(lake, [*patients(5), {**ORDINARY, "age": "-7"}])
    second = write_batch(lake, [*patients(5), {**ORDINARY, "age": "old"}] * 2)
    for batch in (first, second, second):
        run(spark, batch)
    kept = [row["batch_id"] for row in stored(first.table("quarantine"), key="batch_id")]
    assert kept == sorted([first.batch_id, *[second.batch_id] * 7])


def test_a_batch_without_rejected_rows_leaves_the_quarantine(
    spark: SparkSession, lake: Path
) -> None:
    batch = write_batch(lake, [*patients(5), {**ORDINARY, "age": "-7"}])
    run(spark, batch)
    # As if the rules had changed: the batch is cleaned a second time and nothing is rejected.
    table = DeltaTable(batch.table("cleaned").path)
    table.delete("verdict = 'rejected'")
    rows = quarantine_batch(batch.table("cleaned"), batch.batch_id, batch.table("quarantine"))
    assert rows == 0
    assert stored(batch.table("quarantine")) == []


def test_copies_the_requested_version(spark: SparkSession, lake: Path) -> None:
    first = write_batch(lake, [*patients(5), {**ORDINARY, "age": "-7"}])
    version = run(spark, first).cleaned.delta_version
    second = write_batch(lake, patients(7))
    run(spark, second)
    cleaned, quarantine = first.table("cleaned"), first.table("quarantine")
    assert quarantine_batch(cleaned, first.batch_id, quarantine, version=version) == 1
    with pytest.raises(
        CleaningError, match=f"contains batch {second.batch_id}, expected {first.batch_id}"
    ):
        quarantine_batch(cleaned, first.batch_id, quarantine)


@pytest.mark.parametrize("batch_id", ["", "' OR 1=1 --", "a" * 64, "a" * 12 + "\n"])
def test_rejects_a_batch_id_that_is_not_safe_in_a_predicate(lake: Path, batch_id: str) -> None:
    cleaned, quarantine = DeltaPath(str(lake / "cleaned")), DeltaPath(str(lake / "quarantine"))
    with pytest.raises(ValueError, match="allowed: 12 hex digits"):
        quarantine_batch(cleaned, batch_id, quarantine)
