"""Whole blocks of bad rows: every row ends in quarantine or is accepted, and no engine fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

from diabetes_platform.cleaning.clean import LABELLED, ROW_KEY_SCHEMA, clean, find_duplicates
from diabetes_platform.cleaning.spark_jobs import clean_batch, fit_statistics
from diabetes_platform.cleaning.statistics import fit
from diabetes_platform.contract.fields import FIELD_NAMES, FIELDS
from diabetes_platform.contract.validation import parse, reasons_to_reject
from diabetes_platform_tests.cleaning.batches import patients, raw_table, write_batch
from diabetes_platform_tests.cleaning.results import run, stored
from diabetes_platform_tests.contract.cases import EVERYWHERE, Row

EMPTY: Row = dict.fromkeys(FIELD_NAMES)
LARGE_BLOCK = 20_000
"""More rows than any engine has in one block."""


def content(row: Row) -> tuple[object, ...]:
    """What makes two rows duplicates: the parsed values, or the text that is no number."""
    parsed = [parse(field, row[field.name]) for field in FIELDS]
    texts = [(row[f.name] or "").strip(" ") for f in FIELDS]
    return tuple(p.value if p.code is None else text for p, text in zip(parsed, texts, strict=True))


def expected_reasons(rows: list[Row]) -> list[set[str]]:
    """The reasons by the contract, without outliers."""
    contents: set[tuple[object, ...]] = set()
    expected = []
    for row in rows:
        reasons = set(map(str, reasons_to_reject(row)))
        if content(row) in contents:
            reasons.add("record:duplicate")
        contents.add(content(row))
        expected.append(reasons)
    return expected


def reasons_by_engine(spark: SparkSession, rows: list[Row]) -> list[set[str]]:
    received = spark.createDataFrame(raw_table(rows, "0" * 64))
    received = received.select("*", sf.lit(False).alias(LABELLED))
    keys = spark.createDataFrame(find_duplicates(received).toArrow(), ROW_KEY_SCHEMA)
    cleaned = clean(received, keys, fit(received), "a" * 12).select("source_line", "reasons")
    table = cleaned.toArrow().sort_by("source_line")
    return [{r for r in row if not r.endswith(":outlier")} for row in table["reasons"].to_pylist()]


BLOCKS: dict[str, Callable[[], list[Row]]] = {
    "two rows without a value": lambda: [EMPTY] * 2,
    "one row without a value": lambda: [EMPTY],
    "text only": lambda: [dict.fromkeys(FIELD_NAMES, "high")] * 3,
    "all ways to write missing": lambda: [
        dict.fromkeys(FIELD_NAMES, text) for text in ("", "NA", "nan", None, "?", " null ")
    ],
    "two signs of NaN": lambda: [
        dict.fromkeys(FIELD_NAMES, text) for text in ("-NaN", None, "NaN")
    ],
    "infinities": lambda: [dict.fromkeys(FIELD_NAMES, text) for text in ("inf", "-inf", "1e999")],
    "codes for missing": lambda: [dict.fromkeys(FIELD_NAMES, text) for text in ("0", "-0.0")],
    "bad rows around good ones": lambda: [EMPTY, EMPTY, *patients(5), EMPTY],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_sail_gives_every_row_of_a_bad_block_its_reasons(spark: SparkSession, name: str) -> None:
    rows = BLOCKS[name]()
    assert reasons_by_engine(spark, rows) == expected_reasons(rows)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BLOCKS)
def test_apache_spark_gives_every_row_of_a_bad_block_its_reasons(
    apache_spark: SparkSession, name: str
) -> None:
    rows = BLOCKS[name]()
    assert reasons_by_engine(apache_spark, rows) == expected_reasons(rows)


VALUES = st.sampled_from([*EVERYWHERE.values(), None, None, ""])
SAME_VALUE = VALUES.map(lambda value: dict.fromkeys(FIELD_NAMES, value))
ANY_VALUES = st.fixed_dictionaries(dict.fromkeys(FIELD_NAMES, VALUES))
BLOCK = st.tuples(SAME_VALUE | ANY_VALUES, st.integers(1, 5)).map(lambda b: [b[0]] * b[1])
BATCHES = st.lists(BLOCK, min_size=1, max_size=6).map(
    lambda blocks: [row for block in blocks for row in block]
)
PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PROPERTY
@given(rows=BATCHES)
def test_sail_gives_any_blocks_their_reasons(spark: SparkSession, rows: list[Row]) -> None:
    assert reasons_by_engine(spark, rows) == expected_reasons(rows)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(900)
@PROPERTY
@given(rows=BATCHES)
def test_apache_spark_gives_any_blocks_their_reasons(
    apache_spark: SparkSession, rows: list[Row]
) -> None:
    assert reasons_by_engine(apache_spark, rows) == expected_reasons(rows)


def test_quarantines_a_stored_batch_without_any_number(spark: SparkSession, lake: Path) -> None:
    """From the statistics of the file, Sail knows that its columns are constant."""
    results = run(spark, write_batch(lake, [EMPTY] * 2))
    assert (results.cleaned.accepted, results.quarantined) == (0, 2)


def test_quarantines_the_copies_of_a_stored_row(spark: SparkSession, lake: Path) -> None:
    results = run(spark, write_batch(lake, patients(1) * 3))
    assert (results.cleaned.accepted, results.cleaned.reasons) == (1, {"record:duplicate": 2})
    assert results.cleaned.duplicates == 2


def test_counts_copies_of_a_bad_row_as_lost(spark: SparkSession, lake: Path) -> None:
    results = run(spark, write_batch(lake, [*[EMPTY] * 4, *patients(1) * 3]))
    assert (results.cleaned.rejected, results.cleaned.duplicates) == (6, 2)
    assert results.cleaned.reasons["record:duplicate"] == 5


@pytest.mark.slow
def test_a_large_block_without_any_number_costs_no_other_row(
    spark: SparkSession, lake: Path
) -> None:
    good = patients(50)
    results = run(spark, write_batch(lake, [*good[:25], *[EMPTY] * LARGE_BLOCK, *good[25:]]))
    assert (results.cleaned.accepted, results.quarantined) == (50, LARGE_BLOCK)


def test_a_source_has_its_own_texts_for_missing(spark: SparkSession, lake: Path) -> None:
    rows = patients(5, insulin=lambda n: ("-9", "fehlt", " Fehlt ", "NA", "-9.0")[n])
    batch = write_batch(lake, [*rows, {**rows[0], "insulin": None}])
    statistics, cleaned = batch.table("statistics"), batch.table("cleaned")
    texts = {"-9", "fehlt"}
    fit_statistics(spark, batch.raw, batch.content_hash, statistics, missing_texts=texts)
    clean_batch(spark, batch.raw, batch.content_hash, statistics, cleaned, missing_texts=texts)
    reasons = [row["reasons"] for row in stored(cleaned)]
    assert reasons == [[], [], [], ["insulin:not_a_number"], [], ["record:duplicate"]]
    assert [row["insulin_received"] for row in stored(cleaned)][:2] == ["-9", "fehlt"]
