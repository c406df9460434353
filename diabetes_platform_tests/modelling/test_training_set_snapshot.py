"""The training set of a past time: the same rows, the same hash, and where each came from."""

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
    rows_by_source,
    training_set_at,
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
    """Make `rows` the training set; return a moment at which it is the newest."""
    told = training_set_from_arrow(rows).content_hash
    lake.snapshot(TRAINING_SET, rows, told, {ROWS_HASH: told})
    time.sleep(0.005)
    moment = datetime.now(UTC)
    time.sleep(0.005)
    return moment


def test_what_was_learned_before_new_labels_is_had_again_after_them(lake: Lake) -> None:
    before = write(lake, pima_table())
    first = training_set_at(lake, before)
    after = write(lake, pa.concat_tables([pima_table(), of_the_stream(5)]))

    again, newest = training_set_at(lake, before), training_set_at(lake, after)

    assert again.content_hash == first.content_hash != newest.content_hash
    assert again.rows.equals(first.rows)
    assert (again.commit.version, newest.commit.version) == (0, 1)
    assert again.sources == {"pima.csv": 768}
    assert newest.sources == {"pima.csv": 768, STREAM: 5}


def test_rows_that_are_not_those_that_were_told_are_refused(lake: Lake) -> None:
    write(lake, pima_table())
    path = lake.table(TRAINING_SET).path
    write_deltalake(path, of_the_stream(1), mode="append")
    with pytest.raises(TrainingSetError, match="version 1: given rows of content hash"):
        training_set_at(lake, datetime.now(UTC))


def test_a_version_of_before_this_was_told_is_had_too(lake: Lake) -> None:
    rows = pima_table().drop_columns(["source"])
    lake.snapshot(TRAINING_SET, rows, training_set_from_arrow(rows).content_hash)
    time.sleep(0.005)
    assert training_set_at(lake, datetime.now(UTC)).sources == {"not told": 768}


def test_of_no_training_set_there_is_none(lake: Lake) -> None:
    with pytest.raises(LakeError, match="features/training_set: no Delta table"):
        training_set_at(lake, datetime.now(UTC))


def test_rows_are_counted_by_source_most_first() -> None:
    rows = pa.concat_tables([of_the_stream(2), pima_table()])
    assert list(rows_by_source(rows).items()) == [("pima.csv", 768), (STREAM, 2)]
