"""The graph on a mini-cluster: bounded messages in, and the tables that it writes."""

import json
from collections import Counter
from collections.abc import Sequence

import pytest
from pyflink.common import Row, RowKind, Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.table import Table

from diabetes_platform.contract.topics import HEARTBEAT_TOPIC, WINDOW_KEYS, mean_name
from diabetes_platform.contract.topics import missing_share_name as share_name
from flink.patients.event_time import WindowOptions
from flink.patients.graph import (
    classified,
    dead_letters,
    newest_images,
    of_kinds,
    table_environment,
    windowed,
)
from flink.patients.messages import LATE, NOT_COUNTED
from flink.patients.tests.messages import CHANGED_MS, TOPIC, envelope, image, source

pytestmark = pytest.mark.integration

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
RECEIVED = Types.ROW_NAMED(
    ["key", "value", "topic", "partition", "offset"],
    [BYTES, BYTES, Types.STRING(), Types.INT(), Types.LONG()],
)
START = CHANGED_MS - CHANGED_MS % 60_000
WITHOUT_IDLENESS = WindowOptions(idle_ms=0)
"""Every partition counts as delivering from the start."""


def message(
    row_id: int, lsn: int, op: str = "u", at_ms: int = START, epoch: str = "0", **values: object
) -> tuple[bytes, bytes]:
    """Key and value of a change of one patient."""
    sides = {"before": {"id": row_id}, "after": None} if op == "d" else {}
    sides = sides or {"before": None, "after": image(row_id, **values)}
    value = envelope(op, source=source(lsn=lsn, ts_ms=at_ms), capture_epoch=epoch, **sides)
    return json.dumps({"id": row_id}).encode(), json.dumps(value).encode()


def classified_messages(
    stream: StreamExecutionEnvironment,
    messages: Sequence[tuple[bytes | None, bytes | None]],
    windows: WindowOptions = WITHOUT_IDLENESS,
) -> DataStream:
    rows = [
        Row(key, value, HEARTBEAT_TOPIC if key == b"{}" else TOPIC, 0, offset)
        for offset, (key, value) in enumerate(messages)
    ]
    tables = table_environment(stream)
    received = tables.from_data_stream(stream.from_collection(rows, RECEIVED))
    return classified(received, tables, windows)


def rows(table: Table) -> list[Row]:
    with table.execute().collect() as results:
        return list(results)


def upserts(results: list[Row]) -> list[tuple[int, int | None]]:
    """Each id with the lsn that was written for it, None for a tombstone, in order."""
    written = []
    for row in results:
        if row.get_row_kind() == RowKind.UPDATE_BEFORE:
            continue
        row_id, content = row
        written.append((row_id, None if content is None else json.loads(bytes(content))["lsn"]))
    return written


MESSAGES: list[tuple[bytes | None, bytes | None]] = [
    message(1, 10, "c"),
    message(1, 20),
    message(1, 10, "c"),  # repeated
    message(1, 15),  # older than the newest
    message(2, 30, "c"),
    message(2, 40, "d"),
    (b'{"id":2}', None),
    message(2, 35),  # older than its deletion
    message(2, 50, "c"),  # created again
    (None, b'{"op":"c","after":{'),
    (b"\xff", b"\x00\xfe"),
    message(3, 60, glucose="148", age=None),
    (b"{}", json.dumps({"ts_ms": START}).encode()),
]


@pytest.fixture
def verdicts(stream: StreamExecutionEnvironment) -> DataStream:
    return classified_messages(stream, MESSAGES)


def test_writes_the_newest_image_of_each_patient_and_a_tombstone_for_a_deletion(
    stream: StreamExecutionEnvironment, verdicts: DataStream
) -> None:
    results = upserts(rows(newest_images(verdicts, table_environment(stream))))
    assert [lsn for row_id, lsn in results if row_id == 1] == [10, 20]
    assert [lsn for row_id, lsn in results if row_id == 2] == [30, None, 50]
    assert {row_id for row_id, _ in results} == {1, 2}


def test_a_new_server_whose_log_starts_again_replaces_the_images_of_the_lost_one(
    stream: StreamExecutionEnvironment,
) -> None:
    messages = [
        message(1, 900, "c"),
        message(2, 910, "c"),
        message(1, 20, "r", epoch="1"),
        message(2, 20, "r", epoch="1"),
        message(1, 990),  # of the lost server, and late
        message(1, 30, epoch="1"),
        message(2, 40, "d", epoch="1"),
    ]
    verdicts = classified_messages(stream, messages)
    results = upserts(rows(newest_images(verdicts, table_environment(stream))))
    epoch = 2**44
    assert [lsn for row_id, lsn in results if row_id == 1] == [900, epoch + 20, epoch + 30]
    assert [lsn for row_id, lsn in results if row_id == 2] == [910, epoch + 20, None]


def test_dead_letters_have_the_original_bytes_all_reasons_and_their_offset(
    stream: StreamExecutionEnvironment, verdicts: DataStream
) -> None:
    results = rows(dead_letters(verdicts, table_environment(stream)))
    letters = {}
    for key, value, headers in results:
        plain = {name: bytes(content).decode() for name, content in headers.items()}
        reasons = json.loads(plain["reasons"])
        letters[int(plain["offset"])] = (None if key is None else bytes(key), bytes(value), reasons)
        assert (plain["topic"], plain["partition"]) == (TOPIC, "0")
        assert plain["rejected_ms"].isdecimal()
    assert letters == {
        9: (*MESSAGES[9], ["message:not_json", "key:missing"]),
        10: (*MESSAGES[10], ["message:not_json", "key:not_json"]),
        11: (*MESSAGES[11], ["glucose:not_a_number", "age:missing"]),
    }


def test_every_message_is_written_duplicate_rejected_or_ignored(
    stream: StreamExecutionEnvironment, verdicts: DataStream
) -> None:
    def kinds(table: Table) -> Counter[str]:
        return Counter(kind for (kind,) in rows(table))

    tables = table_environment(stream)
    tables.create_temporary_view("messages", verdicts)
    counts = kinds(tables.sql_query("SELECT messages.verdict.kind FROM messages"))
    assert counts == {"accepted": 7, "deleted": 1, "rejected": 3, "ignored": 1, "heartbeat": 1}
    assert kinds(of_kinds(verdicts, table_environment(stream), NOT_COUNTED)) == {
        "ignored": 1,
        "heartbeat": 1,
    }
    assert len(upserts(rows(newest_images(verdicts, table_environment(stream))))) == 5


def test_windows_count_and_average_by_the_time_of_the_change(
    stream: StreamExecutionEnvironment,
) -> None:
    messages: list[tuple[bytes | None, bytes | None]] = [
        message(1, 1, at_ms=START, glucose=100, insulin=None),
        message(2, 2, at_ms=START + 59_999, glucose=200),
        (b'{"id":3}', b"{"),
        message(1, 3, at_ms=START + 60_000, glucose=60),
        message(2, 4, "d", at_ms=START + 71_000),  # so the first window is closed
        message(1, 5, at_ms=START + 1, glucose=500),
    ]
    verdicts = classified_messages(stream, messages)
    results = rows(windowed(verdicts, table_environment(stream), WITHOUT_IDLENESS))
    first, second = sorted(
        (dict(zip(WINDOW_KEYS.all, row, strict=True)) for row in results),
        key=lambda window: window[WINDOW_KEYS.start],
    )
    assert (first[WINDOW_KEYS.start], first[WINDOW_KEYS.end]) == (START, START + 60_000)
    assert [first[name] for name in WINDOW_KEYS.counts] == [3, 2, 0, 1, 0]
    assert first[mean_name("glucose")] == 150
    assert (first[share_name("insulin")], first[share_name("glucose")]) == (0.5, 0)
    assert [second[name] for name in WINDOW_KEYS.counts] == [3, 1, 1, 0, 1]
    assert second[mean_name("glucose")] == 60
    assert [kind for (kind,) in rows(of_kinds(verdicts, table_environment(stream), [LATE]))] == [
        "late"
    ]


def test_a_window_with_heartbeats_only_is_not_written(
    stream: StreamExecutionEnvironment,
) -> None:
    beats = [(b"{}", json.dumps({"ts_ms": START + 60_000 * n}).encode()) for n in range(3)]
    verdicts = classified_messages(stream, beats)
    assert rows(windowed(verdicts, table_environment(stream), WITHOUT_IDLENESS)) == []
