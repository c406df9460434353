"""Offset gaps: which offsets a group can no longer read, and what is done about them."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from diabetes_platform.streaming.offset_gaps import (
    SETTLED_MS,
    GapState,
    GroupOffsets,
    GroupPoll,
    OffsetGap,
    Step,
    lost_ranges,
    next_step,
    poll_group,
    settled,
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


def offsets(committed: dict[int, int], end: int = 100, topic_id: str = "t") -> GroupOffsets:
    ends = dict.fromkeys(range(2), end)
    return GroupOffsets(topic_id=topic_id, committed=committed, ends=ends)


def poll(
    committed: dict[int, int], low: int = 0, end: int = 100, topic_id: str = "t", group: str = "g"
) -> GroupPoll:
    return GroupPoll(
        group, "topic", offsets(committed, end, topic_id), dict.fromkeys(range(2), low)
    )


@pytest.mark.parametrize(
    ("previous", "current", "expected"),
    [
        pytest.param(None, poll({0: 7, 1: 9}), [], id="everything is there"),
        pytest.param(None, poll({0: 7, 1: 9}, low=7), [], id="removed up to the next one"),
        pytest.param(None, poll({0: 7, 1: 9}, low=9), ["0:7-8"], id="the group stands still"),
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


def found(*polls: GroupPoll) -> list[tuple[str, ...]]:
    """The ranges of the gaps after these polls."""
    state = GapState()
    for number, current in enumerate(polls):
        restored = GapState.model_validate(state.model_dump(mode="json"))
        state = update_gaps(restored, [current], NOW + number)
    return [gap.ranges for gap in state.gaps]


def test_a_gap_is_found_once_while_the_group_stands_still_and_when_it_continues() -> None:
    stands_still = poll({0: 7, 1: 90}, low=9)
    continued = poll({0: 50, 1: 90}, low=9)
    assert found(stands_still, stands_still, continued, continued) == [("0:7-8",)]


def test_a_gap_that_grows_replaces_the_shorter_one() -> None:
    assert found(poll({0: 7}, low=9), poll({0: 7}, low=60), poll({0: 60}, low=60)) == [("0:7-59",)]


def test_each_group_and_each_later_gap_is_one_of_its_own() -> None:
    assert found(
        poll({0: 7}, low=9, group="a"),
        poll({0: 7}, low=9, group="b"),
        poll({0: 20}, low=9, group="a"),
        poll({0: 20}, low=30, group="a"),
    ) == [("0:7-8",), ("0:7-8",), ("0:20-29",)]


def test_the_issue_names_group_topic_ranges_and_count() -> None:
    gap = OffsetGap(group="predictor", topic="sink", ranges=("0:7-8", "2:0-9"), found_ms=NOW)
    assert gap.issue.subject == "group predictor: offsets 0:7-8, 2:0-9 of sink"
    assert "(12 offsets)" in gap.issue.problem
    assert gap.issue.urgent


@pytest.mark.parametrize(
    ("polls", "expected"),
    [
        pytest.param([poll({0: 100, 1: 100})], True, id="no lag"),
        pytest.param([poll({0: 100, 1: 100}), poll({0: 50, 1: 49})], False, id="one group lags"),
        pytest.param([poll({0: 99, 1: 100}, low=100)], False, id="before the gap"),
        pytest.param([poll({}, low=0, end=0)], True, id="nothing was ever sent"),
    ],
)
def test_waits_until_all_groups_have_read_what_there_is(
    polls: list[GroupPoll], expected: bool
) -> None:
    assert settled(polls) is expected


@pytest.mark.parametrize(
    ("emitted_ms", "waiting", "expected"),
    [
        pytest.param(None, 0, "close", id="every patient has an answer"),
        pytest.param(None, 1, "emit", id="one patient waits"),
        pytest.param(None, 10, "emit", id="as many as allowed"),
        pytest.param(None, 11, "ask", id="more than allowed"),
        pytest.param(NOW - 1, 10, "wait", id="just emitted"),
        pytest.param(NOW - SETTLED_MS, 3, "close", id="the others were rejected"),
        pytest.param(NOW - 1, 0, "close", id="repaired"),
    ],
)
def test_emits_the_affected_patients_once(
    emitted_ms: int | None, waiting: int, expected: Step
) -> None:
    gap = OffsetGap(group="g", topic="t", ranges=("0:1-2",), found_ms=NOW, emitted_ms=emitted_ms)
    assert next_step(gap, waiting, 10, NOW) == expected


@pytest.mark.integration
def test_finds_what_retention_and_a_new_topic_took_from_a_real_group(kafka: Kafka) -> None:
    servers = kafka.bootstrap_servers
    with own_topic(kafka, 2) as name:
        send(kafka, name, [message(n, n) for n in range(1, 11)], partition=1)
        consumer = Consumer({"bootstrap.servers": servers, "group.id": name})
        consumer.commit(offsets=[TopicPartition(name, 1, 4)], asynchronous=False)
        consumer.close()
        before = poll_group(servers, name, name)
        assert (before.lag, lost_ranges(None, before)) == (6, [])
        delete_before(kafka, name, 1, 9)
        after = poll_group(servers, name, name)
        assert list(map(str, lost_ranges(before.offsets, after))) == ["1:4-8"]
        recreate(kafka, name, 2)
        state = update_gaps(GapState(), [before], NOW)
        state = update_gaps(state, [poll_group(servers, name, name)], time.time_ns() // 1_000_000)
        assert [gap.ranges for gap in state.gaps] == [("1:4-9",)]
