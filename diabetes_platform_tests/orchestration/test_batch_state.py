"""Decisions about a table by its newest commit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from diabetes_platform.cleaning.reconciliation import ACCEPTED, REJECTED
from diabetes_platform.cleaning.rejected_rows import RejectedRows
from diabetes_platform.contract.tables import CLEANED_PATIENTS
from diabetes_platform.lake.delta import DeltaPath, Lake
from diabetes_platform.orchestration.batch_state import (
    BatchReference,
    batch_origin,
    cleaned_batch,
    current_batch,
    input_version,
    materialize_if_changed,
    rejected_rows,
)

ROWS = pa.table({"a": [1, 2]})


class Rebuilds:
    """A table that is built from an input; `count` says how often it was."""

    def __init__(self, path: Path) -> None:
        self.target = DeltaPath(str(path))
        self.count = 0

    def build(self) -> Mapping[str, Any]:
        self.count += 1
        write_deltalake(self.target.path, ROWS, mode="overwrite")
        return {"dagster/row_count": 2, "reasons": {"age:missing": 1}}

    def materialize(self, version: str) -> dg.MaterializeResult:
        return materialize_if_changed(dg.build_asset_context(), self.target, version, self.build)


@pytest.fixture
def rebuilds(tmp_path: Path) -> Rebuilds:
    return Rebuilds(tmp_path / "table")


def test_builds_a_table_once_for_the_same_input(rebuilds: Rebuilds) -> None:
    first, second = rebuilds.materialize("x"), rebuilds.materialize("x")
    assert rebuilds.count == 1
    assert first.metadata is not None
    assert second.metadata is not None
    assert (first.metadata["processed"], second.metadata["processed"]) == (True, False)
    assert {**first.metadata, "processed": False} == second.metadata
    assert second.metadata["reasons"] == {"age:missing": 1}


def test_builds_a_table_again_for_another_input(rebuilds: Rebuilds) -> None:
    for version in ("x", "y", "x"):
        rebuilds.materialize(version)
    assert rebuilds.count == 3


def test_maintenance_does_not_change_the_input_of_a_table(rebuilds: Rebuilds) -> None:
    first = rebuilds.materialize("x")
    table = rebuilds.target.open()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    table.alter.set_table_properties({"delta.checkpointInterval": "5"})
    assert table.version() > 1
    second = rebuilds.materialize("x")
    assert rebuilds.count == 1
    assert first.metadata is not None
    assert second.metadata is not None
    assert second.metadata["delta_version"] == first.metadata["delta_version"]


def test_builds_a_table_again_that_another_writer_changed(rebuilds: Rebuilds) -> None:
    rebuilds.materialize("x")
    write_deltalake(rebuilds.target.path, ROWS, mode="append")
    assert rebuilds.materialize("x").metadata["processed"] is True  # type: ignore[index]
    assert DeltaTable(rebuilds.target.path).to_pyarrow_table().num_rows == 2


def test_builds_a_table_again_whose_build_was_cut_off(rebuilds: Rebuilds) -> None:
    write_deltalake(rebuilds.target.path, ROWS, mode="overwrite")
    assert rebuilds.materialize("x").metadata["processed"] is True  # type: ignore[index]


def test_reads_the_batch_whose_own_files_maintenance_has_removed(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    target = lake.table(CLEANED_PATIENTS)
    reasons = pa.array([[], ["age:missing"]], pa.list_(pa.string()))
    rows = {"batch_id": ["a", "a"], "verdict": [ACCEPTED, REJECTED], "reasons": reasons}
    for _ in range(2):
        write_deltalake(target.path, pa.table(rows), mode="append")
    current = cleaned_batch(lake).version
    table = target.open()
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    cleaned = cleaned_batch(lake)
    assert (cleaned.version, cleaned.readable_version) == (current, table.version())
    with pytest.raises(FileNotFoundError):
        target.open(cleaned.version).to_pyarrow_table()
    assert rejected_rows(lake, cleaned.version) == RejectedRows(2, 2, {"age:missing": 2})

    write_deltalake(target.path, pa.table(rows), mode="overwrite")
    assert cleaned_batch(lake).version == table.version() + 1
    assert rejected_rows(lake, cleaned.version) == RejectedRows(2, 2, {"age:missing": 2})
    assert rejected_rows(lake, table.version() + 1) == RejectedRows(1, 1, {"age:missing": 1})


def test_an_empty_lake_asks_for_the_raw_table_and_is_not_retried(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for read in (current_batch, cleaned_batch):
        with pytest.raises(dg.Failure, match="materialize it first") as error:
            read(lake)
        assert error.value.allow_retries is False
    assert batch_origin(lake, "a" * 12) == {}


def test_a_batch_with_labels_is_another_batch() -> None:
    source = BatchReference("a" * 64)
    labelled = BatchReference("a" * 64, 3, "b" * 64)
    assert source.batch_id == "a" * 12 != labelled.batch_id
    assert labelled.origin == {"raw_content_hash": "a" * 64, "labels_version": "3"}


def test_the_input_version_depends_on_each_part() -> None:
    assert input_version("staging", "1") == input_version("staging", "1")
    assert input_version("staging", "1") != input_version("staging", "2")
