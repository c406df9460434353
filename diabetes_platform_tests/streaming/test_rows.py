"""Messages of the three topics as rows of the lake."""

import json
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from diabetes_platform.contract.change_events import SINK_KEYS
from diabetes_platform.contract.tables import STREAM_PATIENTS, STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.contract.topics import CDC_TOPIC, DEAD_LETTER_HEADERS
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.streaming.dead_letters import NO_REASONS
from diabetes_platform.streaming.rows import (
    PATIENTS,
    REJECTED,
    WINDOWS,
    UnreadableMessageError,
    patient_row,
    rejected_row,
    window_row,
)
from diabetes_platform.streaming.topic import TopicMessage, TopicPartitionOffset
from diabetes_platform_tests.samples import EXAMPLE
from diabetes_platform_tests.streaming.letters import SECRET, START_MS, letter_headers, window
from diabetes_platform_tests.streaming.sink import image, key_of

DAY = date(2026, 11, 24)
WRITTEN_MS = 1_795_550_000_123


def patient_message(offset: int, key: bytes | None, value: object) -> TopicMessage:
    content = json.dumps(value).encode() if isinstance(value, dict) else value
    assert content is None or isinstance(content, bytes)
    return TopicMessage(TopicPartitionOffset("sink", "id", 2, offset), WRITTEN_MS, key, content)


def dead_letter(headers: dict[str, bytes], value: bytes | None = SECRET) -> TopicMessage:
    position = TopicPartitionOffset("rejected", "id", 0, 5)
    return TopicMessage(position, WRITTEN_MS, b"\xff", value, headers)


def window_message(value: bytes | None) -> TopicMessage:
    return TopicMessage(TopicPartitionOffset("windowed", "id", 0, 5), WRITTEN_MS, None, value)


def test_a_row_has_every_value_of_its_image() -> None:
    value = image(7, 4711, outcome=1, outcome_recorded_at="2026-11-24T13:00:00+01:00", op="u")
    assert set(value) == set(SINK_KEYS)
    row = patient_row(patient_message(5, key_of(7), value), DAY)
    assert {name: row[name] for name in EXAMPLE} == EXAMPLE
    assert (row["change_id"], row["op"], row["lsn"], row["outcome"]) == ("7-4711", "u", 4711, 1)
    assert (row["day"], row["kafka_partition"], row["kafka_offset"]) == ("2026-11-24", 2, 5)
    assert row["outcome_recorded_at"] == datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert row["written_at"] == datetime.fromtimestamp(WRITTEN_MS / 1000, UTC)
    assert set(row) == set(STREAM_PATIENTS.column_names)
    assert PATIENTS.to_arrow([row]).schema == row_schema(STREAM_PATIENTS)


def test_a_tombstone_becomes_a_row_with_the_operation_deleted() -> None:
    row = patient_row(patient_message(5, key_of(7), None), DAY)
    assert (row["change_id"], row["op"]) == ("7-deleted-id-2-5", "d")
    (stored,) = PATIENTS.to_arrow([row]).to_pylist()
    assert {name for name, value in stored.items() if value is None} == {
        "lsn", "changed_at", "captured_at", "judged_at", "received_at", "outcome",
        "outcome_recorded_at", *EXAMPLE,
    }  # fmt: skip


def test_a_change_that_was_written_twice_is_one_row_and_two_deletions_are_two() -> None:
    changes = [patient_message(n, key_of(7), image(7, 4711)) for n in range(2)]
    deletions = [patient_message(n, key_of(7), None) for n in (2, 3)]
    table = PATIENTS.to_arrow(patient_row(message, DAY) for message in (*changes, *deletions))
    assert table["kafka_offset"].to_pylist() == [0, 2, 3]


def test_a_range_without_messages_is_an_empty_table() -> None:
    assert PATIENTS.to_arrow([]).equals(
        pa.Table.from_pylist([], schema=row_schema(STREAM_PATIENTS))
    )


@pytest.mark.parametrize(
    ("key", "value", "reasons"),
    [
        (None, image(7, 1), "key:missing"),
        (b"7", image(7, 1), "key:not_an_object"),
        (key_of(7), b"\xff\xfe", "record:not_json"),
        (key_of(7), b"[]", "record:not_an_object"),
        (key_of(8), image(7, 1), "key:mismatch"),
        (key_of(7), image(7, 1, lsn="1"), "lsn:not_an_integer"),
        (key_of(7), image(7, 1, op="x"), "op:not_allowed"),
        (key_of(7), image(7, 1, age=float("nan"), bmi="27"), "bmi:not_a_number, age:not_finite"),
        (key_of(7), {"id": 7}, "op:missing, lsn:missing, changed_ms:missing, captured_ms:missing"),
        (
            key_of(7),
            image(7, 1, age=None, pregnancies=1.5),
            "pregnancies:not_an_integer, age:missing",
        ),
        (key_of(7), image(7, 1, pregnancies=2**31), "pregnancies:above_maximum"),
        (key_of(7), image(7, 1, received_at="today"), "received_at:not_a_time"),
    ],
)
def test_an_unreadable_image_is_reported_by_position_and_reasons_without_its_values(
    key: bytes | None, value: object, reasons: str
) -> None:
    with pytest.raises(UnreadableMessageError, match=r"^sink-2-5: ") as error:
        patient_row(patient_message(5, key, value), DAY)
    assert reasons in str(error.value)
    assert "27" not in str(error.value)


def test_an_image_outside_a_narrowed_range_stays_readable() -> None:
    assert patient_row(patient_message(5, key_of(7), image(7, 1, age=150)), DAY)["age"] == 150


def test_a_dead_letter_becomes_a_row_with_its_headers_and_bytes() -> None:
    row = rejected_row(dead_letter(letter_headers("age:missing", "bmi:not_a_number")), DAY)
    assert set(row) == set(STREAM_REJECTED.column_names)
    assert row["reasons"] == ["age:missing", "bmi:not_a_number"]
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == (CDC_TOPIC, 2, 7)
    assert row["rejected_at"] == datetime.fromtimestamp(1_795_550_000.123, UTC)
    assert (row["message_key"], row["message_value"]) == (b"\xff", SECRET)
    (stored,) = REJECTED.to_arrow([row]).to_pylist()
    assert stored["message_value"] == SECRET


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (DEAD_LETTER_HEADERS.partition, b"-1"),
        (DEAD_LETTER_HEADERS.partition, b"9999999999"),
        (DEAD_LETTER_HEADERS.offset, b"seven"),
        (DEAD_LETTER_HEADERS.rejected_ms, b"9" * 18),
        (DEAD_LETTER_HEADERS.offset, None),
    ],
)
def test_a_header_that_is_missing_or_unreadable_is_null(header: str, value: bytes | None) -> None:
    columns = {
        DEAD_LETTER_HEADERS.partition: "source_partition",
        DEAD_LETTER_HEADERS.offset: "source_offset",
        DEAD_LETTER_HEADERS.rejected_ms: "rejected_at",
    }
    headers = {**letter_headers("age:missing"), header: value}
    present = {name: content for name, content in headers.items() if content is not None}
    row = rejected_row(dead_letter(present), DAY)
    assert row[columns[header]] is None
    assert row["reasons"] == ["age:missing"]


def test_a_message_without_headers_is_kept_as_a_dead_letter() -> None:
    row = rejected_row(dead_letter({}, None), DAY)
    assert row["reasons"] == [NO_REASONS]
    assert (row["source_topic"], row["rejected_at"], row["message_value"]) == (None, None, None)
    assert REJECTED.to_arrow([row]).num_rows == 1


def test_a_window_becomes_a_row_with_its_counts_and_means() -> None:
    value = json.dumps(window(late=2, bmi_mean=None)).encode()
    row = window_row(window_message(value), DAY)
    assert set(row) == set(STREAM_WINDOWS.column_names)
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    assert (row["window_start"], row["window_end"]) == (start, start + timedelta(minutes=1))
    assert (row["events"], row["late"], row["bmi_mean"], row["age_mean"]) == (10, 2, None, 0.25)
    assert WINDOWS.to_arrow([row, row]).num_rows == 1


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
def test_an_unreadable_window_is_reported_by_position_and_reasons(
    value: bytes | None, reasons: str
) -> None:
    with pytest.raises(UnreadableMessageError, match=r"^windowed-0-5: ") as error:
        window_row(window_message(value), DAY)
    assert reasons in str(error.value)
