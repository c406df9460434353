"""Versions by the time at which they were there."""

import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.lake.delta import Lake, LakeError, commit_as_of, commits


def write(lake: Lake, *ages: int) -> list[datetime]:
    """Write a version for each age; return a time_ after each."""
    times = []
    for age in ages:
        lake.snapshot(TRAINING_SET, pa.table({"age": [age]}), str(age), {"age": str(age)})
        time.sleep(0.005)
        times.append(datetime.now(UTC))
        time.sleep(0.005)
    return times


def test_the_newest_version_of_a_moment_is_found_with_what_its_writer_told(lake: Lake) -> None:
    times = write(lake, 21, 22, 23)
    table = lake.table(TRAINING_SET)
    history = [commit_as_of(table, time_) for time_ in times]
    assert [commit.version for commit in history] == [0, 1, 2]
    assert [commit.metadata["age"] for commit in history] == ["21", "22", "23"]
    assert commit_as_of(table, history[1].written_at).version == 1
    assert commit_as_of(table, times[2] + timedelta(days=9)).version == 2


def test_raises_for_a_time_before_the_first_version(lake: Lake) -> None:
    write(lake, 21)
    first = commits(lake.table(TRAINING_SET))[0].written_at
    with pytest.raises(LakeError, match=rf"allowed: {first:%Y-%m-%dT%H:%M:%S}.* or later"):
        commit_as_of(lake.table(TRAINING_SET), first - timedelta(milliseconds=1))


def test_raises_without_a_table(lake: Lake) -> None:
    with pytest.raises(LakeError, match="features/training_set: no Delta table"):
        commit_as_of(lake.table(TRAINING_SET), datetime.now(UTC))


def test_rejects_a_time_without_a_zone(lake: Lake) -> None:
    with pytest.raises(ValueError, match="2026-11-01T00:00:00 has no time zone"):
        commit_as_of(lake.table(TRAINING_SET), datetime(2026, 11, 1))  # noqa: DTZ001 - the fault


def test_maintenance_is_not_a_commit_of_rows(lake: Lake) -> None:
    write(lake, 21)
    table = lake.table(TRAINING_SET)
    table.open().alter.set_table_properties({"delta.checkpointInterval": "7"})
    assert table.version() == 1
    assert commit_as_of(table, datetime.now(UTC) + timedelta(seconds=1)).version == 0
