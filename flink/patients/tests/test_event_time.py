"""Watermarks of partitions, and the window in which a message counts."""

from flink.patients.event_time import EventTime, TimedMessage, WindowOptions
from flink.patients.messages import ACCEPTED, HEARTBEAT, LATE, REJECTED

A, B, HEARTBEATS = ("changes", 0), ("changes", 1), ("heartbeat", 0)
START = 1_000_000
MINUTE = 60_000


def event_time(idle_ms: int = 30_000) -> EventTime:
    return EventTime(WindowOptions(MINUTE, 10_000, idle_ms), START)


def test_nothing_is_late_until_every_partition_had_time_to_deliver() -> None:
    time = event_time()
    time.assign(A, ACCEPTED, 900_000, START)
    timed = time.assign(B, ACCEPTED, 100_000, START + 29_999)
    assert timed == TimedMessage(ACCEPTED, 100_000, 0)


def test_the_slowest_partition_holds_the_watermark_back() -> None:
    time = event_time()
    time.assign(A, ACCEPTED, 900_000, START)
    time.assign(B, ACCEPTED, 500_000, START + 30_000)
    assert time.watermark_ms == 490_000
    time.assign(B, ACCEPTED, 899_000, START + 30_000)
    assert time.watermark_ms == 889_000


def test_an_idle_partition_does_not_hold_the_watermark_back() -> None:
    time = event_time()
    time.assign(A, ACCEPTED, 500_000, START)
    time.assign(B, ACCEPTED, 900_000, START + 30_001)
    assert time.watermark_ms == 890_000


def test_heartbeats_move_the_watermark_while_nothing_changes() -> None:
    time = event_time()
    time.assign(A, ACCEPTED, 500_000, START)
    timed = time.assign(HEARTBEATS, HEARTBEAT, 990_000, START + 31_000)
    assert timed == TimedMessage(HEARTBEAT, 990_000, 980_000)


def test_the_watermark_never_goes_back() -> None:
    time = event_time(idle_ms=0)
    time.assign(A, ACCEPTED, 900_000, START)
    assert time.assign(A, ACCEPTED, 895_000, START + 1).watermark_ms == 890_000
    assert time.assign(B, ACCEPTED, 870_000, START + 2).watermark_ms == 890_000


def test_a_change_is_late_once_its_window_has_closed_and_counts_in_the_open_one() -> None:
    time = event_time(idle_ms=0)
    time.assign(A, ACCEPTED, 14 * MINUTE + 10_000, START)
    assert time.watermark_ms == 14 * MINUTE
    assert time.assign(A, ACCEPTED, 14 * MINUTE, START).kind == ACCEPTED
    assert time.assign(A, ACCEPTED, 14 * MINUTE - 1, START) == TimedMessage(
        LATE, 14 * MINUTE, 14 * MINUTE
    )


def test_a_change_is_not_late_one_millisecond_before_its_window_closes() -> None:
    time = event_time(idle_ms=0)
    time.assign(A, ACCEPTED, 14 * MINUTE + 9_999, START)
    assert time.assign(A, ACCEPTED, 13 * MINUTE, START).kind == ACCEPTED


def test_a_rejected_message_counts_at_its_partitions_newest_time() -> None:
    time = event_time()
    assert time.assign(A, REJECTED, START, START).event_ms == START
    time.assign(A, ACCEPTED, 500_000, START)
    assert time.assign(A, REJECTED, START, START).event_ms == 500_000


def test_a_rejected_message_does_not_move_the_watermark() -> None:
    time = event_time(idle_ms=0)
    time.assign(A, ACCEPTED, 500_000, START)
    watermark_ms = time.watermark_ms
    time.assign(A, REJECTED, START, START + 100)
    assert time.watermark_ms == watermark_ms
