"""Troubles over time: what lasts a minute is told once, and its end once."""

from diabetes_platform.streaming.troubles import LASTING_MS, Change, Lasting, Trouble, follow

JOB = Trouble("job patients", "is FAILED")
LAG = Trouble("group predictor", "is 20,000 messages behind")
START = 1_800_000_000_000
TICK = 15_000


def told(*looks: tuple[Trouble, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The subjects that began and ended at each look, 15 seconds apart."""
    known: tuple[Lasting, ...] = ()
    found = []
    for number, troubles in enumerate(looks):
        known, change = follow(known, troubles, START + number * TICK)
        found.append(tuple(tuple(each.subject for each in part) for part in parts(change)))
    return found


def parts(change: Change) -> tuple[tuple[Lasting, ...], tuple[Lasting, ...]]:
    return change.began, change.ended


NOTHING: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def test_what_is_over_within_a_minute_is_not_told() -> None:
    assert told((JOB,), (JOB,), (JOB,), (), (), (), (), ()) == [NOTHING] * 8


def test_what_lasts_is_told_once_and_its_end_once() -> None:
    looks = [(JOB,)] * 7 + [()] * 6
    began = [number for number, each in enumerate(told(*looks)) if each[0]]
    ended = [number for number, each in enumerate(told(*looks)) if each[1]]
    assert (began, ended) == ([LASTING_MS // TICK], [6 + LASTING_MS // TICK])


def test_what_comes_and_goes_is_one_incident() -> None:
    looks = [(JOB,)] * 6 + [(), (JOB,), (), (), (JOB,), ()]
    assert [each for each in told(*looks) if each != NOTHING] == [((JOB.subject,), ())]


def test_each_trouble_has_a_life_of_its_own() -> None:
    looks = [(JOB,), (JOB, LAG), (JOB, LAG), (JOB, LAG), (JOB, LAG), (LAG,)]
    assert told(*looks)[4:] == [((JOB.subject,), ()), ((LAG.subject,), ())]


def test_the_newest_words_are_told() -> None:
    known, _ = follow((), [Trouble("group predictor", "is 10 messages behind")], START)
    known, change = follow(known, [LAG], START + LASTING_MS)
    assert (
        change.began == known == (Lasting(LAG.subject, LAG.text, START, START + LASTING_MS, True),)
    )


def test_a_clock_that_was_set_back_tells_nothing_twice() -> None:
    known, change = follow((), [JOB], START)
    known, change = follow(known, [JOB], START + LASTING_MS)
    assert len(change.began) == 1
    known, change = follow(known, [JOB], START - 3_600_000)
    assert change == Change((), ())
    assert known[0].told
