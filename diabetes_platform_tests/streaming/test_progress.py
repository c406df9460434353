"""What a tick makes of its cursor, of the runs under way and of the table's offsets."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest

from diabetes_platform.streaming.progress import (
    CursorError,
    Outcome,
    Pending,
    Progress,
    ask,
    follow_topic,
    read_cursor,
    settle,
    write_cursor,
)
from diabetes_platform.streaming.ranges import MOST_MESSAGES, Ends, Increment, Range

TODAY = date(2026, 11, 24)
NOW = 1_000_000
ENDED, UNDER_WAY = Outcome("ended"), Outcome("under way")
START = Progress("topic", "id")
A = Pending("a", (Range(0, 5, 9),))
B = Pending("b", (Range(0, 10, 12),))
WORKING = replace(START, positions={0: 13}, committed={0: 4}, ends={0: 13}, pending=(A, B))


def today(_: date) -> Mapping[int, int]:
    return dict.fromkeys(range(4), 0)


def tick(progress: Progress, ends: Ends, now: int = NOW) -> tuple[list[str], Progress]:
    """Follow the topic and ask, as the sensor does; return the keys of the runs."""
    progress = follow_topic(progress, "id", ends)
    increments, progress = ask(progress, "id", ends, today, TODAY, now)
    return [each.run_key(progress.failures) for each in increments], progress


def test_a_cursor_is_read_as_it_was_written() -> None:
    progress = replace(WORKING, held={3: 8}, failures=2, not_before_ms=7, observed_ms=9)
    assert read_cursor(write_cursor(progress), "topic") == progress


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"pending": [["a", "x"]]}', "null"])
def test_a_cursor_that_is_none_is_told(text: str) -> None:
    with pytest.raises(CursorError, match="clear it on the sensor's page"):
        read_cursor(text, "topic")


def test_a_cursor_of_another_topic_is_told() -> None:
    with pytest.raises(CursorError, match="given one of topic topic, allowed other"):
        read_cursor(write_cursor(WORKING), "other")


def test_what_the_table_does_not_know_is_read_from_its_beginning() -> None:
    keys, progress = tick(START, {0: (0, 3), 1: (7, 9)})
    assert keys == ["topic@id:0:0-2,1:7-8"]
    assert progress.positions == {0: 3, 1: 9}


def test_a_cursor_that_was_cleared_is_made_from_the_table() -> None:
    started = settle(START, {}, {0: 4}, NOW)
    keys, _ = tick(started, {0: (0, 10), 1: (0, 2)})
    assert keys == ["topic@id:0:5-9,1:0-1"]


def test_one_run_at_work_and_one_waiting() -> None:
    ends = {0: (0, 10 * MOST_MESSAGES)}
    known = replace(START, committed={0: -1})
    keys, progress = tick(known, ends)
    assert [key.partition(":")[2] for key in keys] == ["0:0-9999", "0:10000-19999"]
    assert tick(progress, ends)[0] == []


def test_nothing_waits_for_offsets_that_no_table_knows_yet() -> None:
    keys, _ = tick(START, {0: (0, 10 * MOST_MESSAGES)})
    assert keys == ["topic@id:0:0-9999"]


def test_nothing_follows_offsets_that_kafka_has_deleted() -> None:
    known = replace(START, positions={0: 3}, committed={0: 2})
    keys, asked = tick(known, {0: (8, 20)})
    assert keys == ["topic@id:0:3-7"]
    assert tick(asked, {0: (8, 20)})[0] == []


def test_of_two_failed_ranges_the_first_is_what_a_person_decides_of() -> None:
    refused = Outcome("ended", frozenset({0}))
    assert settle(WORKING, {"a": refused, "b": ENDED}, {0: 4}, NOW).held == {0: 9}


def test_partitions_that_were_added_are_read_from_their_beginning() -> None:
    keys, progress = tick(replace(START, positions={0: 3}), {0: (0, 3), 1: (0, 2)})
    assert keys == ["topic@id:1:0-1"]
    assert progress.positions == {0: 3, 1: 2}


def test_a_topic_that_ends_before_what_was_read_is_told() -> None:
    with pytest.raises(CursorError, match="13 is the next offset to read, and the topic ends at 8"):
        follow_topic(replace(START, positions={0: 13}), "id", {0: (0, 8)})


def test_a_topic_made_anew_is_read_from_its_beginning_once_the_old_one_was_read() -> None:
    old = replace(START, positions={0: 13}, ends={0: 13}, committed={0: 12})
    anew = follow_topic(old, "new", {0: (0, 4)})
    assert (anew.topic_id, anew.positions, anew.committed) == ("new", {0: 0}, {})
    increments, _ = ask(anew, "new", {0: (0, 4)}, today, TODAY, NOW)
    assert increments == (Increment("topic", "new", TODAY, (Range(0, 0, 3),)),)


def test_what_was_not_read_of_a_deleted_topic_is_asked_for_so_that_a_run_says_so() -> None:
    old = replace(START, positions={0: 9}, ends={0: 13}, committed={0: 8})
    followed = follow_topic(old, "new", {0: (0, 4)})
    increments, progress = ask(followed, "new", {0: (0, 4)}, today, TODAY, NOW)
    assert increments == (Increment("topic", "id", TODAY, (Range(0, 9, 12),)),)
    # It fails for good, and a person decides; the table then has the offsets.
    refused = {progress.pending[0].run_key: Outcome("ended", frozenset({0}))}
    held = follow_topic(settle(progress, refused, {0: 8}, NOW), "new", {0: (0, 4)})
    assert ask(held, "new", {0: (0, 4)}, today, TODAY, NOW)[0] == ()
    released = follow_topic(settle(held, {}, {0: 12}, NOW), "new", {0: (0, 4)})
    assert (released.topic_id, released.positions) == ("new", {0: 0})


@pytest.mark.parametrize(
    ("outcomes", "committed", "positions", "left", "failures"),
    [
        pytest.param((UNDER_WAY, UNDER_WAY), 4, 13, (A, B), 0, id="both under way"),
        pytest.param((ENDED, UNDER_WAY), 9, 13, (B,), 0, id="the first is there"),
        pytest.param((ENDED, ENDED), 12, 13, (), 0, id="both are there"),
        pytest.param((ENDED, UNDER_WAY), 4, 13, (A, B), 0, id="failed: its successor fails too"),
        pytest.param((ENDED, ENDED), 4, 5, (), 1, id="both failed"),
        pytest.param((ENDED, ENDED), 9, 10, (), 1, id="the second failed"),
        pytest.param((ENDED, ENDED), 7, 8, (), 1, id="a person's run has added a part"),
    ],
)
def test_runs_that_have_ended_are_judged_by_the_table(
    outcomes: tuple[Outcome, Outcome],
    committed: int,
    positions: int,
    left: tuple[Pending, ...],
    failures: int,
) -> None:
    known = dict(zip("ab", outcomes, strict=True))
    settled = settle(WORKING, known, {0: committed}, NOW)
    assert settled.positions == {0: positions}
    assert (settled.pending, settled.failures) == (left, failures)


def test_a_failed_run_is_asked_for_again_under_another_key() -> None:
    ends = {0: (0, 13)}
    first = settle(WORKING, {"a": ENDED, "b": ENDED}, {0: 4}, NOW)
    keys, again = tick(first, ends)
    assert keys == ["topic@id:0:5-12#1"]
    key = again.pending[0].run_key
    second = settle(again, {key: ENDED}, {0: 4}, NOW)
    assert tick(second, ends)[0] == [], "after a second failure it waits"
    assert tick(second, ends, second.not_before_ms)[0] == ["topic@id:0:5-12#2"]


def test_pauses_grow_to_five_minutes_and_end_with_a_success() -> None:
    progress, pauses = WORKING, []
    for _ in range(10):
        failed = {one.run_key: ENDED for one in progress.pending}
        progress = settle(progress, failed, {0: 4}, NOW)
        pauses.append((progress.not_before_ms - NOW) // 1000)
        progress = replace(progress, pending=(A,))
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    assert settle(progress, {"a": ENDED}, {0: 9}, NOW).failures == 0


def test_a_partition_that_a_run_refused_waits_for_a_person_and_the_others_go_on() -> None:
    both = Pending("both", (Range(0, 5, 9), Range(1, 2, 3)))
    asked = replace(START, positions={0: 10, 1: 4}, committed={0: 4, 1: 1}, pending=(both,))
    refused = Outcome("ended", frozenset({0}))
    held = settle(asked, {"both": refused}, {0: 4, 1: 3}, NOW)
    ends = {0: (0, 12), 1: (0, 6)}
    assert held.held == {0: 9}
    assert tick(held, ends)[0] == ["topic@id:1:4-5#1"]
    accepted = settle(held, {}, {0: 9, 1: 3}, NOW)
    assert tick(accepted, ends)[0] == ["topic@id:0:10-11,1:4-5#1"]
