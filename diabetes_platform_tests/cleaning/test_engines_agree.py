"""Sail and a real Apache Spark Connect server: the same rows from the same dirty batch."""

import shutil

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.spark_jobs import Labels
from diabetes_platform.contract.tables import LABELLED_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform_tests.cleaning.batches import Batch, dirty_rows, write_batch
from diabetes_platform_tests.cleaning.results import run
from diabetes_platform_tests.intakes import changed, stream

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ROWS, LABELS = 10_000, 50
KEYS = {"statistics": "field", "cleaned": "record_id", "quarantine": "record_id"}


@pytest.fixture(scope="module")
def batches(
    spark: SparkSession, apache_spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Batch, Batch]:
    """The batch as Sail and as Apache Spark cleaned it."""
    lakes = tmp_path_factory.mktemp("lakes")
    on_sail = write_batch(lakes / "sail", dirty_rows(ROWS, seed=4))
    stream(Lake(str(on_sail.lake)), *(changed(n, n, outcome=n % 2) for n in range(1, LABELS + 1)))
    update_labels(Lake(str(on_sail.lake)))
    shutil.copytree(on_sail.lake, lakes / "spark")
    on_spark = Batch(lakes / "spark", on_sail.content_hash, on_sail.rows)
    clean(spark, on_sail)
    clean(apache_spark, on_spark)
    return on_sail, on_spark


def clean(spark: SparkSession, batch: Batch) -> None:
    lake = Lake(str(batch.lake))
    kept = update_labels(lake)
    run(spark, batch, Labels(lake.table(LABELLED_PATIENTS), kept.version, kept.content_hash))


def rows(batch: Batch, name: str) -> list[dict[str, object]]:
    """The rows by key, numbers as hexadecimal text: equal means equal to the last bit."""
    table: pa.Table = DeltaTable(batch.table(name).path).to_pyarrow_table()
    exact = [
        {
            column: value.hex() if isinstance(value, float) else value
            for column, value in row.items()
        }
        for row in table.to_pylist()
    ]
    return sorted(exact, key=lambda row: row[KEYS[name]])


@pytest.mark.parametrize("name", KEYS)
def test_both_engines_write_the_same_rows(batches: tuple[Batch, Batch], name: str) -> None:
    on_sail, on_spark = batches
    assert rows(on_sail, name) == rows(on_spark, name)


def test_the_batch_covers_every_kind_of_reason(batches: tuple[Batch, Batch]) -> None:
    on_sail, _ = batches
    cleaned = rows(on_sail, "cleaned")
    assert len(cleaned) == ROWS + LABELS
    codes = {reason.split(":")[1] for row in cleaned for reason in row["reasons"]}
    assert codes == {
        "missing",
        "not_a_number",
        "not_finite",
        "not_an_integer",
        "below_minimum",
        "above_maximum",
        "not_allowed",
        "outlier",
        "duplicate",
    }
    assert {row["verdict"] for row in cleaned} == {"accepted", "rejected"}


def test_both_engines_read_tables_of_the_other_engine(
    spark: SparkSession, apache_spark: SparkSession, batches: tuple[Batch, Batch]
) -> None:
    on_sail, on_spark = batches
    first_rows = rows(on_sail, "cleaned")
    clean(apache_spark, on_sail)
    clean(spark, on_spark)
    assert rows(on_sail, "cleaned") == rows(on_spark, "cleaned") == first_rows
