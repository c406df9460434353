"""An incident is told of when it begins, not while it lasts, and when it is over."""

import pytest

from diabetes_platform.streaming.rejections import (
    NO_REASONS,
    QUIET_MS,
    DeadLetter,
    Incident,
    begin_at,
    follow,
    reasons_in,
)

NOW = 1_800_000_000_000


def letter(number: int, *reasons: str, at: int = NOW) -> DeadLetter:
    return DeadLetter(reasons, at, f"topic-0-{number}")


def test_the_first_dead_letter_of_a_reason_begins_an_incident() -> None:
    letters = [letter(1, "age:missing"), letter(2, "age:missing", "bmi:not_a_number")]
    known, news = follow((), letters, NOW)
    assert news.began == known
    assert news.ended == ()
    assert [(one.reason, one.records, one.first) for one in known] == [
        ("age:missing", 2, "topic-0-1"),
        ("bmi:not_a_number", 1, "topic-0-2"),
    ]


def test_while_it_lasts_nothing_is_told() -> None:
    known, _ = follow((), [letter(1, "age:missing")], NOW)
    known, news = follow(known, [letter(2, "age:missing", at=NOW + 60_000)], NOW + 60_000)
    assert (news.began, news.ended) == ((), ())
    assert known == (Incident("age:missing", 2, "topic-0-1", NOW, NOW + 60_000),)


def test_another_reason_is_another_incident() -> None:
    known, _ = follow((), [letter(1, "age:missing")], NOW)
    known, news = follow(known, [letter(2, "key:missing")], NOW)
    assert [one.reason for one in news.began] == ["key:missing"]
    assert [one.reason for one in known] == ["age:missing", "key:missing"]


@pytest.mark.parametrize(("later", "over"), [(QUIET_MS, False), (QUIET_MS + 1, True)])
def test_it_is_over_when_its_reason_was_not_given_for_a_while(later: int, *, over: bool) -> None:
    before, _ = follow((), [letter(1, "age:missing"), letter(2, "age:missing")], NOW)
    known, news = follow(before, (), NOW + later)
    assert (known == ()) is over
    assert news.ended == (before if over else ())
    assert news.began == ()


def test_one_that_comes_again_is_told_again() -> None:
    known, _ = follow((), [letter(1, "age:missing")], NOW)
    later = NOW + QUIET_MS + 1
    known, _ = follow(known, (), later)
    _, news = follow(known, [letter(9, "age:missing", at=later)], later)
    assert [one.first for one in news.began] == ["topic-0-9"]


def test_one_that_was_over_before_the_look_is_told_and_ends_with_the_next() -> None:
    known, news = follow((), [letter(1, "age:missing", at=NOW - 2 * QUIET_MS)], NOW)
    assert [one.reason for one in news.began] == ["age:missing"]
    _, news = follow(known, (), NOW)
    assert [one.reason for one in news.ended] == ["age:missing"]


def test_a_dead_letter_without_reasons_is_one_too() -> None:
    _, news = follow((), [letter(1)], NOW)
    assert [one.reason for one in news.began] == [NO_REASONS]


@pytest.mark.parametrize(
    ("saved", "low", "high", "offset"),
    [
        (None, 0, 10, None),
        (7, 0, 10, 7),
        (10, 0, 10, 10),
        (7, 8, 10, 8),
        (70, 0, 10, 0),
        (7, 0, 5000, 4900),
        (7, 4990, 5000, 4990),
    ],
)
def test_where_reading_goes_on(saved: int | None, low: int, high: int, offset: int | None) -> None:
    assert begin_at(saved, low, high, most=100) == offset


@pytest.mark.parametrize(
    ("header", "reasons"),
    [
        (b'["age:missing","key:missing"]', ("age:missing", "key:missing")),
        (None, (NO_REASONS,)),
        (b"[]", (NO_REASONS,)),
        (b"\xff", (NO_REASONS,)),
        (b'"age:missing"', (NO_REASONS,)),
    ],
)
def test_reasons_are_read_from_the_header(header: bytes | None, reasons: tuple[str, ...]) -> None:
    assert reasons_in(header) == reasons
