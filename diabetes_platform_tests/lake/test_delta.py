"""A Delta table's path: spelled for each engine, named where there is no table."""

from pathlib import Path

import pytest

from diabetes_platform.contract.tables import CLEANED_PATIENTS
from diabetes_platform.lake.delta import DeltaPath, LakeError


@pytest.mark.parametrize(
    ("path", "for_spark"),
    [
        ("/lake/raw/patients", "/lake/raw/patients"),
        ("s3://lake/raw/patients", "s3a://lake/raw/patients"),
        ("s3a://lake/raw/patients", "s3a://lake/raw/patients"),
        ("/lake/s3://odd", "/lake/s3://odd"),
    ],
)
def test_spark_knows_s3_as_s3a(path: str, for_spark: str) -> None:
    assert DeltaPath(path).for_spark == for_spark


def test_a_path_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=f"{tmp_path}: no Delta table"):
        DeltaPath(str(tmp_path)).version()


def test_a_created_table_has_the_contracts_columns_and_is_not_created_twice(tmp_path: Path) -> None:
    target = DeltaPath(str(tmp_path / "cleaned"))
    target.create(CLEANED_PATIENTS, partition_by="verdict")
    target.create(CLEANED_PATIENTS, partition_by="verdict")

    fields = {field.name: field.nullable for field in target.open().schema().fields}
    assert fields == {column.name: column.nullable for column in CLEANED_PATIENTS.columns}
    assert target.version() == 0
