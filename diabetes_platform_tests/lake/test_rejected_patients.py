"""The patients in dead letters of any content."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from diabetes_platform.contract.tables import STREAM_REJECTED
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.rejected_patients import rejected_patients
from diabetes_platform_tests.lake.appending import append_rows

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


Rejection = tuple[bytes | None, datetime, datetime | None]
"""The key of a dead letter, and the times at which it was written and rejected."""


def append_rejections(lake: Lake, *rejections: Rejection) -> None:
    """Add dead letters of one day."""
    rows = [
        {
            "day": written_at.date().isoformat(),
            "topic_id": "t",
            "kafka_partition": 0,
            "kafka_offset": offset,
            "written_at": written_at,
            "reasons": ["age:missing"],
            "rejected_at": rejected_at,
            "message_key": key,
        }
        for offset, (key, written_at, rejected_at) in enumerate(rejections)
    ]
    append_rows(lake, STREAM_REJECTED, rows)


def test_returns_the_newest_rejection_of_each_patient(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    append_rejections(
        lake,
        (b'{"id":1}', NOON, NOON - HOUR),
        (b'{"id":2}', NOON, NOON + HOUR),
        (b' { "id" : 1 } ', NOON, NOON),
        (b'{"id":1}', NOON, NOON - HOUR),
        (b'{"id":3}', NOON, None),
    )
    assert rejected_patients(lake) == {1: NOON, 2: NOON + HOUR, 3: NOON}
    assert rejected_patients(lake, since=NOON + DAY) == {}


def test_ignores_keys_that_are_no_patients(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    keys = [
        None,
        b"",
        b"null",
        b"\xff\xfe",
        b'{"id":-1}',
        b'{"id":1.0}',
        b'{"id":"1"}',
        b'{"id":1,"id":2}',
        b'{"id":9223372036854775808}',
        b'{"id":99999999999999999999999}',
        '{"id":\u0661}'.encode(),
        b"[" * 100_000,
    ]
    append_rejections(lake, *((key, NOON, NOON) for key in keys))
    assert rejected_patients(lake) == {}


def test_is_empty_without_a_table(tmp_path: Path) -> None:
    assert rejected_patients(Lake(str(tmp_path))) == {}
