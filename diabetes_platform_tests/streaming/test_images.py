"""Messages of the sink topic as rows of the lake."""

import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from diabetes_platform.contract.events import SINK_KEYS
from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.streaming.destinations import PATIENTS
from diabetes_platform.streaming.images import row_of
from diabetes_platform.streaming.messages import Place, TopicMessage, UnreadableError
from diabetes_platform_tests.streaming.sink import EXAMPLE, image, key_of

DAY = date(2026, 11, 24)
WRITTEN_MS = 1_795_550_000_123


def at(offset: int, key: bytes | None, value: object) -> TopicMessage:
    content = json.dumps(value).encode() if isinstance(value, dict) else value
    assert content is None or isinstance(content, bytes)
    return TopicMessage(Place("sink", "id", 2, offset), WRITTEN_MS, key, content)


def test_an_image_becomes_a_row_with_everything_that_it_says() -> None:
    sent = image(7, 4711, outcome=1, outcome_recorded_at="2026-11-24T13:00:00+01:00", op="u")
    assert set(sent) == set(SINK_KEYS)
    row = row_of(at(5, key_of(7), sent), DAY)
    assert {name: row[name] for name in EXAMPLE} == EXAMPLE
    assert (row["change_id"], row["op"], row["lsn"], row["outcome"]) == ("7-4711", "u", 4711, 1)
    assert (row["day"], row["kafka_partition"], row["kafka_offset"]) == ("2026-11-24", 2, 5)
    assert row["outcome_recorded_at"] == datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert row["written_at"] == datetime.fromtimestamp(WRITTEN_MS / 1000, UTC)
    assert set(row) == set(STREAM_PATIENTS.column_names)
    assert PATIENTS.table_of([row]).schema == row_schema(STREAM_PATIENTS)


def test_a_tombstone_becomes_a_row_that_says_deleted() -> None:
    row = row_of(at(5, key_of(7), None), DAY)
    assert (row["change_id"], row["op"]) == ("7-deleted-id-2-5", "d")
    found = PATIENTS.table_of([row]).to_pylist()[0]
    assert {name for name, value in found.items() if value is None} == {
        "lsn", "changed_at", "captured_at", "judged_at", "received_at", "outcome",
        "outcome_recorded_at", *EXAMPLE,
    }  # fmt: skip


def test_a_change_that_was_written_again_is_one_row_and_two_deletions_are_two() -> None:
    messages = [at(n, key_of(7), image(7, 4711)) for n in range(2)]
    deletions = [at(n, key_of(7), None) for n in (2, 3)]
    table = PATIENTS.table_of(row_of(one, DAY) for one in (*messages, *deletions))
    assert table["kafka_offset"].to_pylist() == [0, 2, 3]


def test_a_range_without_messages_is_an_empty_table() -> None:
    assert PATIENTS.table_of([]).equals(
        pa.Table.from_pylist([], schema=row_schema(STREAM_PATIENTS))
    )


@pytest.mark.parametrize(
    ("key", "value", "reasons"),
    [
        (None, image(7, 1), "message: json_invalid"),
        (b"7", image(7, 1), "message: model_type"),
        (key_of(7), b"\xff\xfe", "message: json_invalid"),
        (key_of(7), b"[]", "message: model_type"),
        (key_of(8), image(7, 1), "key: is not the id of the image"),
        (key_of(7), image(7, 1, lsn="1"), "lsn: int_type"),
        (key_of(7), image(7, 1, op="x"), "op: string_pattern_mismatch"),
        (key_of(7), image(7, 1, age=float("nan"), bmi="27"), "age: finite_number, bmi: float_type"),
        (key_of(7), {"id": 7}, "age: missing, blood_pressure: missing, bmi: missing"),
        (key_of(7), image(7, 1, age=None, pregnancies=1.5), "age: float_type, pregnancies: int_"),
        (key_of(7), image(7, 1, received_at="today"), "received_at: datetime_parsing"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_place_without_its_values(
    key: bytes | None, value: object, reasons: str
) -> None:
    with pytest.raises(UnreadableError, match=r"^sink-2-5: ") as caught:
        row_of(at(5, key, value), DAY)
    assert reasons in str(caught.value)
    assert "27" not in str(caught.value)
