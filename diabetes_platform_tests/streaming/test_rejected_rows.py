"""Dead letters as rows of the lake: whatever lies in the topic becomes one."""

from datetime import UTC, date, datetime

import pytest

from diabetes_platform.contract.events import CDC_TOPIC, DEAD_LETTER_HEADERS
from diabetes_platform.contract.stream_tables import STREAM_REJECTED
from diabetes_platform.streaming.destinations import REJECTED
from diabetes_platform.streaming.messages import Place, TopicMessage
from diabetes_platform.streaming.rejected_rows import row_of
from diabetes_platform.streaming.rejections import NO_REASONS
from diabetes_platform_tests.streaming.letters import SECRET, letter_headers

DAY = date(2026, 11, 24)
WRITTEN_MS = 1_795_550_000_500


def letter(headers: dict[str, bytes], value: bytes | None = SECRET) -> TopicMessage:
    return TopicMessage(Place("rejected", "id", 0, 5), WRITTEN_MS, b"\xff", value, headers)


def test_a_dead_letter_becomes_a_row_with_everything_that_it_says() -> None:
    row = row_of(letter(letter_headers("age:missing", "bmi:not_a_number")), DAY)
    assert set(row) == set(STREAM_REJECTED.column_names)
    assert row["reasons"] == ["age:missing", "bmi:not_a_number"]
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == (CDC_TOPIC, 2, 7)
    assert row["rejected_at"] == datetime.fromtimestamp(1_795_550_000.123, UTC)
    assert (row["message_key"], row["message_value"]) == (b"\xff", SECRET)
    (stored,) = REJECTED.table_of([row]).to_pylist()
    assert stored["message_value"] == SECRET


@pytest.mark.parametrize(
    ("header", "given"),
    [
        (DEAD_LETTER_HEADERS.partition, b"-1"),
        (DEAD_LETTER_HEADERS.partition, b"9999999999"),
        (DEAD_LETTER_HEADERS.offset, b"seven"),
        (DEAD_LETTER_HEADERS.rejected_ms, b"9" * 18),
        (DEAD_LETTER_HEADERS.offset, None),
    ],
)
def test_what_a_letter_does_not_say_in_a_readable_way_is_null(
    header: str, given: bytes | None
) -> None:
    columns = {
        DEAD_LETTER_HEADERS.partition: "source_partition",
        DEAD_LETTER_HEADERS.offset: "source_offset",
        DEAD_LETTER_HEADERS.rejected_ms: "rejected_at",
    }
    headers = {**letter_headers("age:missing"), header: given}
    row = row_of(letter({name: told for name, told in headers.items() if told is not None}), DAY)
    assert row[columns[header]] is None
    assert row["reasons"] == ["age:missing"]


def test_a_message_that_nobody_of_the_platform_wrote_is_kept_too() -> None:
    row = row_of(letter({}, None), DAY)
    assert row["reasons"] == [NO_REASONS]
    assert (row["source_topic"], row["rejected_at"], row["message_value"]) == (None, None, None)
    assert REJECTED.table_of([row]).num_rows == 1
