"""Quality counts of the stream's tables: records and windows count once."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from diabetes_platform.contract.tables import STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable
from diabetes_platform.lake.stream_quality import (
    OTHER,
    Rejections,
    WindowSums,
    changes_since,
    rejections_in,
    rejections_of_day,
    rejections_since,
    sums_of,
    windows_since,
)
from diabetes_platform_tests.lake.appending import append_rows

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def letter(
    offset: int, *reasons: str, source: int | None = None, hours: int = 0
) -> dict[str, object]:
    """A dead letter of the original at offset `source` of partition 0."""
    written = NOW - timedelta(hours=hours)
    return {
        "day": written.date().isoformat(),
        "topic_id": "id",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "written_at": written,
        "reasons": list(reasons),
        "source_topic": None if source is None else "changes",
        "source_partition": None if source is None else 0,
        "source_offset": source,
        "message_value": b"4711",
    }


def letters(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=row_schema(STREAM_REJECTED))


def window(start: int, offset: int, **counts: int) -> dict[str, object]:
    begin = NOW + timedelta(minutes=start)
    zero = dict.fromkeys(("accepted", "deleted", "rejected", "late"), 0)
    return {
        "day": NOW.date().isoformat(),
        "topic_id": "id",
        "kafka_partition": 0,
        "kafka_offset": offset,
        "written_at": NOW + timedelta(seconds=offset),
        "window_start": begin,
        "window_end": begin + timedelta(minutes=1),
        "events": sum(counts.values()),
        **zero,
        **counts,
    }


def test_counts_a_record_once_for_repeated_dead_letters() -> None:
    counts = rejections_in(
        letters(
            letter(0, "age:missing", source=7),
            letter(1, "age:missing", "bmi:not_a_number", source=8),
            letter(2, "age:missing", source=7),
        )
    )
    assert counts == Rejections(3, 2, {"age:missing": 2, "bmi:not_a_number": 1})


def test_counts_dead_letters_without_source_separately() -> None:
    counts = rejections_in(letters(letter(0, "reasons:missing"), letter(1, "reasons:missing")))
    assert (counts.records, counts.reasons) == (2, {"reasons:missing": 2})


def test_hides_a_reason_that_may_contain_a_value() -> None:
    counts = rejections_in(letters(letter(0, "glucose 4711 is too high", source=1)))
    assert counts.reasons == {OTHER: 1}


def test_sorts_reasons_by_frequency() -> None:
    rows = [letter(n, "key:missing" if n % 3 else "age:missing", source=n) for n in range(9)]
    assert list(rejections_in(letters(*rows)).reasons) == ["key:missing", "age:missing"]


def test_counts_the_last_row_of_a_repeated_window() -> None:
    rows = [window(0, 0, accepted=3), window(1, 1, accepted=5, late=1), window(0, 2, accepted=4)]
    table = pa.Table.from_pylist(rows, schema=row_schema(STREAM_WINDOWS))
    assert sums_of(table) == WindowSums(2, 10, 9, 0, 0, 1)


def test_ignores_older_rows(lake: Lake) -> None:
    for hours, offset in ((30, 0), (2, 1)):
        row = letter(offset, "age:missing", source=offset, hours=hours)
        append_rows(lake, STREAM_REJECTED, [row])
    assert rejections_since(lake, NOW - timedelta(days=1)).records == 1
    assert rejections_since(lake, NOW - timedelta(days=2)).records == 2
    assert rejections_of_day(lake, "2026-11-23").records == 1


def test_stores_a_dead_letter_once_without_its_bytes_in_the_log(lake: Lake) -> None:
    rows = [letter(0, "age:missing", source=1), letter(1, "age:missing", source=2)]
    assert [append_rows(lake, STREAM_REJECTED, rows) for _ in range(2)] == [2, 0]
    table = IncrementalTable.open_or_create(lake, STREAM_REJECTED)
    assert table.committed_offsets("topic", "id", [0]) == {0: 1}
    files = pa.table(lake.table(STREAM_REJECTED).open().get_add_actions(flatten=True))
    assert "min.kafka_offset" in files.column_names
    bounds = [name for name in files.column_names if name.startswith(("min.", "max."))]
    assert not [name for name in bounds if "message" in name]


@pytest.mark.parametrize("count", [changes_since, rejections_since, windows_since])
def test_counts_nothing_without_a_table(lake: Lake, count: object) -> None:
    assert callable(count)
    counts = count(lake, NOW)
    assert counts in (0, Rejections(0, 0, {}), WindowSums(0, 0, 0, 0, 0, 0))
