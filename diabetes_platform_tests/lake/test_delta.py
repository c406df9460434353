"""A Delta table's path: spelled for each engine, named where there is no table."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    STREAM_PATIENTS,
    STREAM_REJECTED,
    Column,
    Table,
)
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import DeltaPath, Lake, LakeError, commits


@pytest.mark.parametrize(
    ("path", "for_spark"),
    [
        ("/lake/raw/patients", "/lake/raw/patients"),
        ("s3://lake/raw/patients", "s3a://lake/raw/patients"),
        ("s3a://lake/raw/patients", "s3a://lake/raw/patients"),
        ("/lake/s3://odd", "/lake/s3://odd"),
    ],
)
def test_the_path_for_spark_has_the_scheme_s3a(path: str, for_spark: str) -> None:
    assert DeltaPath(path).for_spark == for_spark


def test_names_a_path_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=f"{tmp_path}: no Delta table"):
        DeltaPath(str(tmp_path)).version()


def test_reports_a_failed_commit_that_created_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CommitFailedError("storage")

    monkeypatch.setattr(DeltaTable, "create", fail)
    with pytest.raises(CommitFailedError, match="storage"):
        DeltaPath(str(tmp_path)).create(RAW_PATIENTS)


def with_columns(table: Table, *columns: Column) -> Table:
    return replace(table, columns=columns)


WEIGHT = Column("weight", "number", True, "Weight [kg]")


def test_adds_an_optional_column_to_a_table_with_rows(tmp_path: Path) -> None:
    target = DeltaPath(str(tmp_path / "raw"))
    target.create(RAW_PATIENTS)
    row = {column.name: None for column in RAW_PATIENTS.columns} | {
        "source_line": 2,
        "content_hash": "a",
        "source": "b",
        "received_at": datetime.now(UTC),
    }
    old = pa.Table.from_pylist([row], row_schema(RAW_PATIENTS))
    write_deltalake(target.path, old, mode="append")
    first, *columns = RAW_PATIENTS.columns
    extended = with_columns(RAW_PATIENTS, first, WEIGHT, *columns)

    target.create(extended)
    target.create(extended)
    new = pa.Table.from_pylist([row | {"weight": 70.5, "source_line": 3}], row_schema(extended))
    write_deltalake(target.path, new, mode="append")

    rows = target.open().to_pyarrow_table().sort_by("source_line")
    assert rows["weight"].to_pylist() == [None, 70.5]
    assert rows["source"].to_pylist() == ["b", "b"]
    assert target.version() == 3
    assert len(commits(target)) == 3, "adding a column changes no row"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (RAW_PATIENTS.columns[1:], "column source_line is not in the contract"),
        (
            (replace(RAW_PATIENTS.columns[0], type="number"), *RAW_PATIENTS.columns[1:]),
            "column source_line has type long, in the contract double",
        ),
        (
            (*RAW_PATIENTS.columns, replace(WEIGHT, nullable=False)),
            "column weight is new and not optional",
        ),
    ],
    ids=["removed", "retyped", "required"],
)
def test_rejects_a_removed_retyped_or_required_column(
    tmp_path: Path, columns: tuple[Column, ...], problem: str
) -> None:
    target = DeltaPath(str(tmp_path / "raw"))
    target.create(RAW_PATIENTS)
    message = f"raw/patients: {problem}: only optional columns may be added"
    with pytest.raises(LakeError, match=message):
        target.create(with_columns(RAW_PATIENTS, *columns))
    assert target.version() == 0


@pytest.mark.parametrize(
    "table",
    [RAW_PATIENTS, CLEANED_PATIENTS, QUARANTINE_PATIENTS, STREAM_PATIENTS, STREAM_REJECTED],
    ids=lambda table: table.name,
)
def test_an_unchanged_contract_adds_no_version(tmp_path: Path, table: Table) -> None:
    target = DeltaPath(str(tmp_path / "table"))
    target.create(table)
    target.create(table)
    assert target.version() == 0


def test_reads_a_column_that_the_table_lacks_as_null(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    old = pa.table({"bmi": [21.0], "verdict": ["accepted"]})
    write_deltalake(lake.table(CLEANED_PATIENTS).path, old)
    rows = lake.stream(CLEANED_PATIENTS, ("bmi", "insulin"), {"verdict": "accepted"}).read_all()
    assert rows.to_pylist() == [{"bmi": 21.0, "insulin": None}]
    assert rows.schema.field("insulin").type == pa.float64()


def test_creates_a_table_with_the_contracts_columns_once(tmp_path: Path) -> None:
    target = DeltaPath(str(tmp_path / "cleaned"))
    target.create(CLEANED_PATIENTS, partition_by="verdict")
    target.create(CLEANED_PATIENTS, partition_by="verdict")

    fields = {field.name: field.nullable for field in target.open().schema().fields}
    assert fields == {column.name: column.nullable for column in CLEANED_PATIENTS.columns}
    assert target.version() == 0
