"""Delta tables: read as a stream, counted, versioned by content."""

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from diabetes_platform.contract.tables import CLEANED_PATIENTS, STREAM_PATIENTS, TRAINING_SET
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake, LakeError


@pytest.fixture(params=[["verdict"], None], ids=["partitioned", "not partitioned"])
def cleaned(lake: Lake, request: pytest.FixtureRequest) -> Lake:
    """10 accepted and 3 rejected rows, of the two columns that these tests look at."""
    rows = pa.table(
        {"bmi": [float(n) for n in range(13)], "verdict": ["accepted"] * 10 + ["rejected"] * 3}
    )
    write_deltalake(lake.table(CLEANED_PATIENTS).path, rows, partition_by=request.param)
    return lake


def test_streams_the_matching_rows(cleaned: Lake) -> None:
    rows = cleaned.stream(CLEANED_PATIENTS, ("bmi",), {"verdict": "accepted"}).read_all()
    assert sorted(rows["bmi"].to_pylist()) == [float(n) for n in range(10)]
    assert rows.column_names == ["bmi"]


@pytest.mark.parametrize(("verdict", "rows"), [("accepted", 10), ("rejected", 3), ("other", 0)])
def test_counts_the_matching_rows(cleaned: Lake, verdict: str, rows: int) -> None:
    assert cleaned.count(CLEANED_PATIENTS, {"verdict": verdict}) == rows


@pytest.mark.parametrize("partition_by", [["day"], None])
def test_reads_the_days_since_a_time(lake: Lake, partition_by: list[str] | None) -> None:
    days = pa.table({"id": [1, 2, 3], "day": ["2026-03-01", "2026-03-02", "2026-03-03"]})
    write_deltalake(lake.table(STREAM_PATIENTS).path, days, partition_by=partition_by)
    # Half past midnight in Paris: in Greenwich the day before.
    since = datetime(2026, 3, 3, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert sorted(lake.days_since(STREAM_PATIENTS, since, ("id",))["id"].to_pylist()) == [2, 3]


def test_reads_no_days_without_a_table(lake: Lake) -> None:
    since = datetime.now(UTC)
    assert lake.days_since(STREAM_PATIENTS, since).schema == row_schema(STREAM_PATIENTS)
    assert lake.days_since(STREAM_PATIENTS, since, ("day", "id")).column_names == ["day", "id"]


def test_names_a_missing_table(lake: Lake) -> None:
    assert not lake.table(CLEANED_PATIENTS).exists()
    with pytest.raises(LakeError, match="cleaned/patients: no Delta table at"):
        lake.stream(CLEANED_PATIENTS, ("bmi",), {})


def test_a_snapshot_of_the_same_content_adds_no_version(lake: Lake) -> None:
    first, other = pa.table({"age": [21]}), pa.table({"age": [22]})

    assert lake.snapshot(TRAINING_SET, first, "a") == (0, True)
    assert lake.snapshot(TRAINING_SET, first, "a") == (0, False)
    assert lake.snapshot(TRAINING_SET, other, "b") == (1, True)
    assert lake.snapshot(TRAINING_SET, first, "a") == (2, True)
    assert lake.table(TRAINING_SET).open(1).to_pyarrow_table()["age"].to_pylist() == [22]


def test_every_version_of_a_snapshot_stays_readable(lake: Lake) -> None:
    table = lake.table(TRAINING_SET)
    # A table without the property: by default its log is removed after 30 days.
    write_deltalake(
        table.path,
        pa.table({"age": [20]}),
        configuration={
            "delta.checkpointInterval": "3",
            "delta.logRetentionDuration": "interval 0 seconds",
        },
    )
    versions = [lake.snapshot(TRAINING_SET, pa.table({"age": [age]}), str(age)) for age in range(9)]
    for age, (version, added) in enumerate(versions):
        assert added
        assert table.open(version).to_pyarrow_table()["age"].to_pylist() == [age]


def test_a_snapshot_may_have_a_new_column(lake: Lake) -> None:
    lake.snapshot(TRAINING_SET, pa.table({"age": [21]}), "a")
    rows = pa.table({"age": [21], "source": ["pima.csv"]})
    assert lake.snapshot(TRAINING_SET, rows, "b") == (1, True)
    assert lake.table(TRAINING_SET).open().to_pyarrow_table().equals(rows)
    assert lake.table(TRAINING_SET).open(0).to_pyarrow_table().column_names == ["age"]


def test_counts_the_rows_of_a_version(cleaned: Lake) -> None:
    write_deltalake(
        cleaned.table(CLEANED_PATIENTS).path,
        pa.table({"bmi": [1.0], "verdict": ["accepted"]}),
        mode="append",
    )
    assert [cleaned.count(CLEANED_PATIENTS, {}, version) for version in (0, 1, None)] == [
        13,
        14,
        14,
    ]
