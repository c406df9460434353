"""Messages of the topic of windows as rows of the lake."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from diabetes_platform.contract.stream_tables import STREAM_WINDOWS
from diabetes_platform.streaming.destinations import WINDOWS
from diabetes_platform.streaming.messages import Place, TopicMessage, UnreadableError
from diabetes_platform.streaming.window_rows import row_of
from diabetes_platform_tests.streaming.letters import START_MS, window

DAY = date(2026, 11, 24)


def at(offset: int, value: bytes | None) -> TopicMessage:
    return TopicMessage(Place("windowed", "id", 0, offset), 1_795_550_100_000, None, value)


def test_a_window_becomes_a_row_with_everything_that_it_says() -> None:
    row = row_of(at(5, json.dumps(window(late=2, bmi_mean=None)).encode()), DAY)
    assert set(row) == set(STREAM_WINDOWS.column_names)
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    assert (row["window_start"], row["window_end"]) == (start, start + timedelta(minutes=1))
    assert (row["events"], row["late"], row["bmi_mean"], row["age_mean"]) == (10, 2, None, 0.25)
    assert WINDOWS.table_of([row, row]).num_rows == 1


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (None, "message: json_invalid"),
        (b"[]", "message: model_type"),
        (json.dumps(window(events=-1)).encode(), "events: greater_than_equal"),
        (json.dumps(window(late="1")).encode(), "late: int_type"),
        (json.dumps({"events": 1}).encode(), "accepted: missing, age_mean: missing"),
    ],
)
def test_what_is_no_window_is_told_by_its_place(value: bytes | None, reasons: str) -> None:
    with pytest.raises(UnreadableError, match=r"^windowed-0-5: ") as caught:
        row_of(at(5, value), DAY)
    assert reasons in str(caught.value)
