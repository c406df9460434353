"""Offset gaps: which offsets a group can no longer read, and what is done about them."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from diabetes_platform.streaming.offset_gaps import (
    ANSWER_MS,
    RECENT_MS,
    Emission,
    GapState,
    GroupOffsets,
    GroupPoll,
    OffsetGap,
    Step,
    caught_up,
    lost_ranges,
    next_step,
    poll_group,
    update_gaps,
)
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.streaming.sink import (
    delete_before,
    message,
    own_topic,
    recreate,
    send,
)

NOW = 1_800_000_000_000


def offsets(
    committed: dict[int, int], end: int = 100, topic_id: str = "t", low: int = 0
) -> GroupOffsets:
    lows, ends = dict.fromkeys(range(2), low), dict.fromkeys(range(2), end)
    return GroupOffsets(topic_id=topic_id, committed=committed, ends=ends, lows=lows)


def poll(
    committed: dict[int, int], low: int = 0, end: int = 100, topic_id: str = "t", group: str = "g"
) -> GroupPoll:
    return GroupPoll(group, "topic", offsets(committed, end, topic_id, low))


@pytest.mark.parametrize(
    ("previous", "current", "expected"),
    [
        pytest.param(None, poll({0: 7, 1: 9}), [], id="everything is there"),
        pytest.param(None, poll({0: 7, 1: 9}, low=7), [], id="removed up to the next one"),
        pytest.param(None, poll({0: 7, 1: 9}, low=9), ["0:7-8"], id="the group has stopped"),
        pytest.param(None, poll({}, low=9), [], id="a group that has never read"),
        pytest.param(offsets({0: 7}), poll({0: 40}, low=30), ["0:7-29"], id="already skipped"),
        pytest.param(offsets({0: 7}), poll({}, low=30), ["0:7-29"], id="its commits expired"),
        pytest.param(offsets({0: 7}), poll({0: 3}, low=5), ["0:3-4"], id="set back to a gap"),
        pytest.param(
            offsets({0: 7, 1: 0}), poll({0: 8, 1: 0}, low=9), ["0:7-8", "1:0-8"], id="all of them"
        ),
        pytest.param(offsets({0: 100}), poll({0: 100}, low=100), [], id="an empty topic"),
        pytest.param(
            offsets({0: 7, 1: 20}, end=20),
            poll({}, end=0, topic_id="new"),
            ["0:7-19"],
            id="the topic was created again",
        ),
        pytest.param(
            offsets({}, end=20),
            poll({}, end=0, topic_id="new"),
            ["0:0-19", "1:0-19"],
            id="the topic was created again before anything was committed",
        ),
        pytest.param(
            offsets({0: 20, 1: 20}, end=20),
            poll({0: 1}, topic_id="new"),
            [],
            id="the topic was created again after all was read",
        ),
    ],
)
def test_finds_the_offsets_that_a_group_can_no_longer_read(
    previous: GroupOffsets | None, current: GroupPoll, expected: list[str]
) -> None:
    assert list(map(str, lost_ranges(previous, current))) == expected


def state_after(*polls: GroupPoll) -> GapState:
    """The state after these polls, stored in between."""
    state = GapState()
    for number, current in enumerate(polls):
        restored = GapState.model_validate(state.model_dump(mode="json"))
        state = update_gaps(restored, [current], NOW + number)
    return state


def gap_ranges(*polls: GroupPoll) -> list[tuple[str, ...]]:
    """The ranges of the gaps after these polls."""
    return [ranges for gap in state_after(*polls).gaps for ranges in gap.ranges.values()]


def test_a_gap_is_found_once_while_the_group_has_stopped_and_when_it_continues() -> None:
    stopped = poll({0: 7, 1: 90}, low=9)
    continued = poll({0: 50, 1: 90}, low=9)
    assert gap_ranges(stopped, stopped, continued, continued) == [("0:7-8",)]
    (gap,) = state_after(stopped, stopped, continued).gaps
    assert (gap.found_ms, gap.newest_ms) == (NOW, NOW)


def test_a_gap_that_grows_stays_one_incident() -> None:
    polls = [poll({0: 7}, low=low) for low in (9, 30, 60)]
    (gap,) = state_after(*polls, poll({0: 60}, low=60)).gaps
    assert gap.ranges == {"t": ("0:7-59",)}
    assert (gap.found_ms, gap.newest_ms) == (NOW, NOW + 2)
    subjects = {state_after(*polls[:length]).gaps[0].issue.subject for length in (1, 2, 3)}
    assert subjects == {"group g in topic"}


def test_a_gap_that_ends_with_the_topic_is_repaired_and_not_found_again() -> None:
    emptied = poll({0: 7, 1: 100}, low=100)
    assert not emptied.is_before_gap
    state = state_after(emptied)
    assert [gap.ranges for gap in state.gaps] == [{"t": ("0:7-99",)}]
    closed = state.model_copy(update={"gaps": ()})
    assert update_gaps(closed, [emptied], NOW).gaps == ()


@pytest.mark.parametrize(("pause_ms", "is_gap"), [(RECENT_MS - 1, True), (RECENT_MS, False)])
def test_after_a_long_pause_what_was_read_and_removed_meanwhile_is_no_gap(
    pause_ms: int, *, is_gap: bool
) -> None:
    state = update_gaps(GapState(), [poll({0: 7, 1: 100})], NOW)
    later = update_gaps(state, [poll({0: 100, 1: 100}, low=100)], NOW + pause_ms)
    assert bool(later.gaps) is is_gap


def test_each_group_has_a_gap_and_a_later_loss_joins_it() -> None:
    assert gap_ranges(
        poll({0: 7}, low=9, group="a"),
        poll({0: 7}, low=9, group="b"),
        poll({0: 20}, low=9, group="a"),
        poll({0: 20}, low=30, group="a"),
    ) == [("0:7-8", "0:20-29"), ("0:7-8",)]


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        pytest.param(poll({0: 100, 1: 100}), (), id="all was read at the last poll"),
        pytest.param(poll({}, end=0), (), id="nothing was sent"),
        pytest.param(poll({}), ("0:0-99", "1:0-99"), id="nothing was committed"),
        pytest.param(poll({0: 7, 1: 100}), ("0:7-99",), id="a lag"),
    ],
)
def test_a_topic_that_was_created_again_is_always_a_gap(
    previous: GroupPoll, expected: tuple[str, ...]
) -> None:
    state = state_after(
        previous, poll({}, end=0, topic_id="new"), poll({0: 3}, end=3, topic_id="new")
    )
    (gap,) = state.gaps
    assert gap.ranges == {"t": expected}
    assert "the topic was deleted and created again" in gap.issue.problem


def test_a_gap_in_a_new_topic_is_another_one_than_that_in_the_deleted_topic() -> None:
    lost = poll({0: 7}, low=9)
    recreated = poll({}, end=0, topic_id="new")
    again = poll({0: 7}, low=9, topic_id="new")
    (gap,) = state_after(lost, recreated, again).gaps
    assert gap.ranges == {"t": ("0:7-99", "1:0-99"), "new": ("0:7-8",)}
    assert gap.newest_ms == NOW + 2


def test_a_gap_that_grows_starts_the_emission_again() -> None:
    state = state_after(poll({0: 7}, low=9))
    done = state.model_copy(update={"emission": Emission(through=70, finished_ms=NOW)})
    assert update_gaps(done, [poll({0: 7}, low=9)], NOW + 1).emission == done.emission
    assert update_gaps(done, [poll({0: 7}, low=10)], NOW + 1).emission == Emission()


def test_the_issue_names_group_topic_ranges_and_count() -> None:
    gap = OffsetGap(
        group="predictor",
        topic="sink",
        ranges={"t": ("0:7-8", "2:0-9")},
        found_ms=NOW,
        newest_ms=NOW,
    )
    assert gap.issue.subject == "group predictor in sink"
    assert gap.issue.problem.startswith("lost offsets 0:7-8, 2:0-9 (12 offsets)")
    assert gap.issue.urgent


@pytest.mark.parametrize(
    ("polls", "expected"),
    [
        pytest.param([poll({0: 100, 1: 100})], True, id="no lag"),
        pytest.param([poll({0: 100, 1: 100}), poll({0: 50, 1: 49})], False, id="one group lags"),
        pytest.param([poll({0: 99, 1: 100}, low=100, end=101)], False, id="before the gap"),
        pytest.param([poll({0: 99, 1: 100}, low=100)], True, id="nothing after the gap"),
        pytest.param([poll({}, low=0, end=0)], True, id="nothing was ever sent"),
        pytest.param([poll({0: 500, 1: 500})], False, id="offsets of the deleted topic"),
        pytest.param([poll({0: 500, 1: 500}, end=0)], True, id="nothing in the new topic"),
        pytest.param([poll({0: 500, 1: 0}, end=101)], False, id="one partition hides no other"),
    ],
)
def test_waits_until_all_groups_have_read_what_there_is(
    polls: list[GroupPoll], expected: bool
) -> None:
    assert caught_up(polls) is expected


@pytest.mark.parametrize(
    ("finished_ms", "unanswered", "limit", "newest_ms", "expected"),
    [
        pytest.param(None, 0, 10, NOW, "emit", id="corrections may be lost though nobody waits"),
        pytest.param(None, 99, 10, NOW - 9 * ANSWER_MS, "emit", id="however many wait"),
        pytest.param(NOW - 1, 0, 10, NOW - ANSWER_MS, "wait", id="just emitted"),
        pytest.param(NOW - ANSWER_MS, 0, 10, NOW - ANSWER_MS, "close", id="repaired"),
        pytest.param(
            NOW - ANSWER_MS, 1, 10, NOW - ANSWER_MS, "wait_for_operator", id="one has no answer"
        ),
        pytest.param(None, 0, 0, NOW - 1, "wait", id="changes of the last minute do not count"),
        pytest.param(None, 0, 0, NOW - ANSWER_MS, "close", id="repaired by an operator"),
        pytest.param(None, 1, 0, NOW - ANSWER_MS, "wait_for_operator", id="never by itself"),
    ],
)
def test_emits_all_patients_and_closes_when_nobody_waits(
    finished_ms: int | None, unanswered: int, limit: int, newest_ms: int, expected: Step
) -> None:
    gap = OffsetGap(group="g", topic="t", ranges={}, found_ms=NOW, newest_ms=newest_ms)
    state = GapState(gaps=(gap,), emission=Emission(finished_ms=finished_ms))
    assert next_step(state, unanswered, limit, NOW) == expected


@pytest.mark.integration
def test_finds_what_retention_and_a_new_topic_took_from_a_real_group(kafka: Kafka) -> None:
    servers = kafka.bootstrap_servers
    with own_topic(kafka, 2) as name:
        send(kafka, name, [message(n, n) for n in range(1, 11)], partition=1)
        consumer = Consumer({"bootstrap.servers": servers, "group.id": name})
        consumer.commit(offsets=[TopicPartition(name, 1, 4)], asynchronous=False)
        consumer.close()
        initial = poll_group(servers, name, name)
        assert (initial.lag, lost_ranges(None, initial)) == (6, [])
        delete_before(kafka, name, 1, 9)
        current = poll_group(servers, name, name)
        assert list(map(str, lost_ranges(initial.offsets, current))) == ["1:4-8"]
        recreate(kafka, name, 2)
        state = update_gaps(GapState(), [initial], NOW)
        state = update_gaps(state, [poll_group(servers, name, name)], time.time_ns() // 1_000_000)
        (gap,) = state.gaps
        assert gap.ranges == {initial.offsets.topic_id: ("1:4-9",)}
