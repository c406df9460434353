"""The training set as of a past time: rows, content hash and sources."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.modelling.training_set import TrainingSetError, training_set_from_arrow
from diabetes_platform.modelling.training_set_snapshot import (
    ROWS_HASH,
    read_training_set_as_of,
    rows_by_source,
)
from diabetes_platform_tests.modelling.patients import pima_table

STREAM = "stream/patients"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def of_the_stream(rows: int) -> pa.Table:
    """Labelled patients of the stream: measured as the file's last ones, but for their glucose."""
    last = pima_table().slice(768 - rows)
    ids = pa.array([f"0123456789ab-intake-{n}" for n in range(rows)])
    glucose = pa.array([101.5 + n for n in range(rows)])
    changed = {"record_id": ids, "glucose": glucose, "source": pa.array([STREAM] * rows)}
    return pa.table({name: changed.get(name, last[name]) for name in last.column_names})


def write(lake: Lake, rows: pa.Table) -> datetime:
    """Make `rows` the training set; return a time at which it is the newest."""
    content_hash = training_set_from_arrow(rows).content_hash
    lake.snapshot(TRAINING_SET, rows, content_hash, {ROWS_HASH: content_hash})
    time.sleep(0.005)
    as_of = datetime.now(UTC)
    time.sleep(0.005)
    return as_of


def test_reads_the_rows_before_and_after_new_labels(lake: Lake) -> None:
    first_time = write(lake, pima_table())
    first = read_training_set_as_of(lake, first_time)
    second_time = write(lake, pa.concat_tables([pima_table(), of_the_stream(5)]))

    reread = read_training_set_as_of(lake, first_time)
    newest = read_training_set_as_of(lake, second_time)

    assert reread.content_hash == first.content_hash != newest.content_hash
    assert reread.rows.equals(first.rows)
    assert (reread.commit.version, newest.commit.version) == (0, 1)
    assert reread.sources == {"pima.csv": 768}
    assert newest.sources == {"pima.csv": 768, STREAM: 5}


def test_rejects_rows_that_do_not_match_the_commit(lake: Lake) -> None:
    write(lake, pima_table())
    path = lake.table(TRAINING_SET).path
    write_deltalake(path, of_the_stream(1), mode="append")
    with pytest.raises(TrainingSetError, match="version 1: the rows have content hash"):
        read_training_set_as_of(lake, datetime.now(UTC))


def test_reads_a_version_without_rows_hash_and_source(lake: Lake) -> None:
    rows = pima_table().drop_columns(["source"])
    lake.snapshot(TRAINING_SET, rows, training_set_from_arrow(rows).content_hash)
    time.sleep(0.005)
    assert read_training_set_as_of(lake, datetime.now(UTC)).sources == {"not recorded": 768}


def test_reads_a_version_written_before_an_optional_field_existed(lake: Lake) -> None:
    rows = pima_table().drop_columns(["insulin"])
    as_of = write(lake, rows)
    write(lake, pima_table())

    snapshot = read_training_set_as_of(lake, as_of)

    assert snapshot.content_hash == training_set_from_arrow(rows).content_hash
    assert snapshot.content_hash != training_set_from_arrow(pima_table()).content_hash


def test_raises_without_a_training_set(lake: Lake) -> None:
    with pytest.raises(LakeError, match="features/training_set: no Delta table"):
        read_training_set_as_of(lake, datetime.now(UTC))


def test_counts_rows_by_source_most_frequent_first() -> None:
    rows = pa.concat_tables([of_the_stream(2), pima_table()])
    assert list(rows_by_source(rows).items()) == [("pima.csv", 768), (STREAM, 2)]
