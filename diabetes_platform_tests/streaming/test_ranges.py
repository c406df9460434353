"""Which offsets are read next and of which day they are, by tables of examples."""

from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from diabetes_platform.streaming.ranges import (
    FIRST_DAY,
    MOST_MESSAGES,
    Begins,
    Increment,
    Range,
    begins_in_kafka,
    day_of,
    next_ranges,
    parse_range,
    ranges_of_day,
)

TODAY = date(2026, 11, 24)
YESTERDAY = TODAY - timedelta(days=1)
LAST_WEEK = TODAY - timedelta(days=7)


class Broker:
    """Answers where a day begins, from the offset at which each day's first message lies."""

    def __init__(self, firsts: Mapping[date, int], end: int = 1_000_000) -> None:
        self._firsts, self._end, self.asked = firsts, end, 0

    def __call__(self, day: date) -> Mapping[int, int]:
        self.asked += 1
        later = [offset for when, offset in self._firsts.items() if when >= day]
        return dict.fromkeys(range(4), min(later, default=self._end))


def all_of(day: date) -> Begins:
    return Broker({day: 0})


@pytest.mark.parametrize(
    ("positions", "ends", "begins", "expected"),
    [
        pytest.param({0: 5}, {0: (0, 5)}, all_of(TODAY), None, id="nothing new"),
        pytest.param({0: 0}, {0: (0, 0)}, all_of(TODAY), None, id="an empty topic"),
        pytest.param(
            {0: 5}, {0: (0, 6)}, all_of(TODAY), (TODAY, (Range(0, 5, 5),)), id="one message"
        ),
        pytest.param(
            {0: 5, 1: 0, 2: 3},
            {0: (0, 9), 1: (0, 2), 2: (0, 3)},
            all_of(TODAY),
            (TODAY, (Range(0, 5, 8), Range(1, 0, 1))),
            id="partitions together, one without news",
        ),
        pytest.param(
            {0: 0},
            {0: (0, 10**9)},
            all_of(TODAY),
            (TODAY, (Range(0, 0, MOST_MESSAGES - 1),)),
            id="a backlog in bounded pieces",
        ),
        pytest.param(
            {0: 5},
            {0: (0, 20)},
            Broker({YESTERDAY: 0, TODAY: 12}),
            (YESTERDAY, (Range(0, 5, 11),)),
            id="a range ends with its day",
        ),
        pytest.param(
            {0: 12},
            {0: (0, 20)},
            Broker({YESTERDAY: 0, TODAY: 12}),
            (TODAY, (Range(0, 12, 19),)),
            id="the next day begins with a range of its own",
        ),
        pytest.param(
            {0: 3},
            {0: (8, 20)},
            all_of(TODAY),
            (TODAY, (Range(0, 3, 7),)),
            id="what Kafka has deleted is asked for, so that a run says so",
        ),
        pytest.param(
            {0: 3, 1: 0},
            {0: (8, 20), 1: (0, 5)},
            all_of(TODAY),
            (TODAY, (Range(0, 3, 7),)),
            id="what is lost comes alone",
        ),
    ],
)
def test_next_ranges(
    positions: Mapping[int, int],
    ends: Mapping[int, tuple[int, int]],
    begins: Begins,
    expected: object,
) -> None:
    assert next_ranges(positions, ends, begins, TODAY) == expected


@pytest.mark.parametrize(
    ("firsts", "offset", "expected"),
    [
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 25, TODAY),
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 20, TODAY),
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 19, YESTERDAY),
        ({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, 9, LAST_WEEK),
        pytest.param({LAST_WEEK: 0}, 999, LAST_WEEK, id="written later, by a clock gone back"),
        pytest.param({date(2031, 1, 1): 0}, 5, TODAY, id="written by a clock years ahead"),
        pytest.param({}, 5, FIRST_DAY, id="written by a clock of 1970"),
        pytest.param({date(1970, 1, 1): 0, TODAY: 7}, 5, FIRST_DAY, id="of 1970, then set right"),
    ],
)
def test_every_offset_has_a_day(firsts: Mapping[date, int], offset: int, expected: date) -> None:
    assert day_of(0, offset, Broker(firsts), TODAY) == expected


def test_a_day_is_found_with_few_questions() -> None:
    broker = Broker({FIRST_DAY + timedelta(days=n): n * 10 for n in range(300)})
    assert day_of(0, 1_234, broker, TODAY) == FIRST_DAY + timedelta(days=123)
    assert broker.asked <= 12


@pytest.mark.parametrize(
    ("day", "ends", "expected"),
    [
        (YESTERDAY, {0: (0, 30)}, (Range(0, 10, 19),)),
        (TODAY, {0: (0, 30)}, (Range(0, 20, 29),)),
        (YESTERDAY, {0: (15, 30)}, (Range(0, 15, 19),)),
        (YESTERDAY, {0: (25, 30)}, ()),
        (YESTERDAY - timedelta(days=3), {0: (0, 30)}, ()),
        (FIRST_DAY, {0: (0, 30)}, ()),
    ],
)
def test_what_kafka_still_has_of_a_day(
    day: date, ends: Mapping[int, tuple[int, int]], expected: tuple[Range, ...]
) -> None:
    begins = Broker({LAST_WEEK: 0, YESTERDAY: 10, TODAY: 20}, end=30)
    assert ranges_of_day(day, ends, begins, TODAY) == expected


def test_a_long_day_is_split() -> None:
    (first, second) = ranges_of_day(TODAY, {0: (0, MOST_MESSAGES + 5)}, all_of(TODAY), TODAY)
    assert (len(first), second) == (MOST_MESSAGES, Range(0, MOST_MESSAGES, MOST_MESSAGES + 4))


@pytest.mark.parametrize(
    ("low", "kept"),
    [(0, True), (9, True), pytest.param(10, False, id="perhaps not the first"), (15, False)],
)
def test_whether_kafka_has_a_day_from_its_beginning(low: int, kept: bool) -> None:
    begins = Broker({LAST_WEEK: 0, YESTERDAY: max(low, 10), TODAY: 20})
    assert begins_in_kafka(YESTERDAY, 0, {0: (low, 30)}, begins) is kept


def test_a_run_key_names_topic_partitions_and_offsets() -> None:
    increment = Increment("topic", "id", TODAY, (Range(0, 5, 9), Range(3, 1, 1)))
    assert increment.run_key(0) == "topic@id:0:5-9,3:1-1"
    assert increment.run_key(2) == "topic@id:0:5-9,3:1-1#2"


@pytest.mark.parametrize("text", ["", "0:5", "0:9-5", "a:1-2", "0:1-2,1:1-2", "-1:0-3"])
def test_a_range_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="allowed <partition>:<first>-<last>"):
        parse_range(text)


def test_a_range_is_read_as_it_is_written() -> None:
    assert parse_range(str(Range(3, 7, 9))) == Range(3, 7, 9)
