"""The next offsets to ingest and the day of every offset, by tables of examples."""

from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.streaming.offsets import (
    FIRST_DAY,
    DayStarts,
    MessagesLostError,
    day_of,
    first_unread_day,
    has_start_of_day,
    next_offsets,
    offsets_of_day,
    offsets_past_end,
    split,
    unread_ranges,
)

TODAY = date(2026, 11, 24)
YESTERDAY = TODAY - timedelta(days=1)
LAST_WEEK = TODAY - timedelta(days=7)


class Broker:
    """Returns where a day starts, from the offset of each day's first message."""

    def __init__(self, first_offsets: Mapping[date, int], end: int = 1_000_000) -> None:
        self._first_offsets, self._end, self.requests = first_offsets, end, 0

    def __call__(self, day: date) -> Mapping[int, int]:
        self.requests += 1
        later = [offset for start, offset in self._first_offsets.items() if start >= day]
        return dict.fromkeys(range(4), min(later, default=self._end))


def all_of(day: date) -> DayStarts:
    return Broker({day: 0})


def test_the_next_offset_follows_the_committed_one() -> None:
    watermarks = {0: (0, 10), 1: (3, 9), 2: (7, 7)}
    positions = next_offsets("topic", {0: 4, 2: 6}, watermarks)
    assert positions == {0: 5, 1: 3, 2: 7}, "a partition without a commit starts at its beginning"


def test_a_topic_that_ends_before_the_committed_offset_has_lost_messages() -> None:
    with pytest.raises(MessagesLostError, match=r"next offset to ingest is 13, .* ends at 8"):
        next_offsets("topic", {0: 12}, {0: (0, 8)})


def test_finds_partitions_that_end_before_the_next_offset() -> None:
    watermarks = {0: (0, 8), 1: (0, 8), 2: (0, 8), 3: (5, 5)}
    assert offsets_past_end({0: 12, 1: 7, 2: 8, 3: 4}, watermarks) == {0: 13, 2: 9}


@pytest.mark.parametrize(
    ("positions", "watermarks", "day_starts", "expected"),
    [
        pytest.param({0: 5}, {0: (0, 5)}, all_of(TODAY), None, id="nothing new"),
        pytest.param({0: 0}, {0: (0, 0)}, all_of(TODAY), None, id="an empty topic"),
        pytest.param(
            {0: 5}, {0: (0, 6)}, all_of(TODAY), (TODAY, [OffsetRange(0, 5, 5)]), id="one message"
        ),
        pytest.param(
            {0: 5, 1: 0, 2: 3},
            {0: (0, 9), 1: (0, 2), 2: (0, 3)},
            all_of(TODAY),
            (TODAY, [OffsetRange(0, 5, 8), OffsetRange(1, 0, 1)]),
            id="all partitions with new messages",
        ),
        pytest.param(
            {0: 5},
            {0: (0, 20)},
            Broker({YESTERDAY: 0, TODAY: 12}),
            (YESTERDAY, [OffsetRange(0, 5, 11)]),
            id="to the end of the day",
        ),
        pytest.param(
            {0: 5, 1: 12},
            {0: (0, 20), 1: (0, 20)},
            Broker({YESTERDAY: 0, TODAY: 12}),
            (YESTERDAY, [OffsetRange(0, 5, 11)]),
            id="only the partitions of the earliest day",
        ),
        pytest.param(
            {0: 12},
            {0: (0, 20)},
            Broker({YESTERDAY: 0, TODAY: 12}),
            (TODAY, [OffsetRange(0, 12, 19)]),
            id="the next day on its own",
        ),
        pytest.param(
            {0: 3},
            {0: (8, 20)},
            all_of(TODAY),
            (TODAY, [OffsetRange(0, 3, 7)]),
            id="deleted offsets, so that a run reports them",
        ),
        pytest.param(
            {0: 3},
            {0: (8, 8)},
            Broker({}, end=8),
            (TODAY, [OffsetRange(0, 3, 7)]),
            id="deleted offsets with no message after them",
        ),
        pytest.param(
            {0: 3, 1: 5},
            {0: (15, 20), 1: (0, 20)},
            Broker({YESTERDAY: 0, TODAY: 12}),
            (YESTERDAY, [OffsetRange(0, 3, 14), OffsetRange(1, 5, 11)]),
            id="deleted offsets with those of the earliest day",
        ),
    ],
)
def test_requests_the_earliest_day_with_unread_offsets(
    positions: Mapping[int, int],
    watermarks: Mapping[int, tuple[int, int]],
    day_starts: DayStarts,
    expected: object,
) -> None:
    assert first_unread_day(positions, watermarks, day_starts, TODAY) == expected


@pytest.mark.parametrize(
    ("position", "watermarks", "day", "expected"),
    [
        pytest.param(0, (0, 10**9), YESTERDAY, [OffsetRange(0, 0, 9)], id="ends at the limit"),
        pytest.param(5, (0, 40), YESTERDAY, [OffsetRange(0, 5, 14)], id="starts at the position"),
        pytest.param(15, (0, 40), YESTERDAY, [OffsetRange(0, 15, 19)], id="ends with the day"),
        pytest.param(20, (0, 40), YESTERDAY, [], id="nothing of a later day"),
        pytest.param(15, (0, 40), TODAY, [], id="nothing of an earlier day"),
        pytest.param(35, (0, 40), TODAY, [OffsetRange(0, 35, 39)], id="ends with the topic"),
        pytest.param(3, (30, 40), TODAY, [OffsetRange(0, 3, 29)], id="deleted offsets come alone"),
    ],
)
def test_a_batch_has_the_unread_offsets_of_one_day(
    position: int, watermarks: tuple[int, int], day: date, expected: list[OffsetRange]
) -> None:
    day_starts = Broker({YESTERDAY: 0, TODAY: 20})
    assert unread_ranges({0: position}, {0: watermarks}, day_starts, day, TODAY, 10) == expected


@pytest.mark.parametrize(
    ("first_offsets", "offset", "expected"),
    [
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 25, TODAY),
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 20, TODAY),
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 19, YESTERDAY),
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 9, LAST_WEEK),
        pytest.param({LAST_WEEK: 0}, 999, LAST_WEEK, id="written later, by a clock set back"),
        pytest.param({date(2031, 1, 1): 0}, 5, TODAY, id="written by a clock years ahead"),
        pytest.param({}, 5, FIRST_DAY, id="written by a clock of 1970"),
        pytest.param({date(1970, 1, 1): 0, TODAY: 7}, 5, FIRST_DAY, id="of 1970, then corrected"),
    ],
)
def test_every_offset_has_a_day(
    first_offsets: Mapping[date, int], offset: int, expected: date
) -> None:
    assert day_of(0, offset, Broker(first_offsets), TODAY) == expected


def test_finds_a_day_with_few_requests() -> None:
    broker = Broker({FIRST_DAY + timedelta(days=n): n * 10 for n in range(300)})
    assert day_of(0, 1_234, broker, TODAY) == FIRST_DAY + timedelta(days=123)
    assert broker.requests <= 12


@pytest.mark.parametrize(
    ("day", "watermarks", "expected"),
    [
        (YESTERDAY, (0, 30), (10, 20)),
        (TODAY, (0, 30), (20, 30)),
        (YESTERDAY, (15, 30), (15, 20)),
        pytest.param(YESTERDAY, (25, 30), (25, 20), id="deleted: empty"),
        pytest.param(YESTERDAY - timedelta(days=3), (0, 30), (10, 10), id="no message: empty"),
        pytest.param(FIRST_DAY, (0, 30), (0, 0), id="the first day, no message: empty"),
    ],
)
def test_the_offsets_of_a_day_that_kafka_has(
    day: date, watermarks: tuple[int, int], expected: tuple[int, int]
) -> None:
    day_starts = Broker({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, end=30)
    assert offsets_of_day(day, {0: watermarks}, day_starts, TODAY) == {0: expected}


def test_splits_a_long_range() -> None:
    assert list(split(0, 0, 12, limit=10)) == [OffsetRange(0, 0, 9), OffsetRange(0, 10, 11)]
    assert list(split(0, 25, 20, limit=10)) == []


@pytest.mark.parametrize(
    ("low", "expected"),
    [(0, True), (9, True), pytest.param(10, False, id="perhaps not the first"), (15, False)],
)
def test_recognises_whether_kafka_has_the_start_of_a_day(low: int, expected: bool) -> None:
    day_starts = Broker({LAST_WEEK: 0, YESTERDAY: max(low, 10), TODAY: 20})
    assert has_start_of_day(0, YESTERDAY, {0: (low, 30)}, day_starts) is expected
