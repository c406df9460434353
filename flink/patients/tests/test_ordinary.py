"""The short way says of a message what the long way says, or nothing."""

import json
import random

import pytest
from msgspec.structs import replace

from diabetes_platform.contract.change_events import CLOCK_SKEW_MS
from diabetes_platform.contract.events import SINK_KEYS
from flink.patients.judging import examined
from flink.patients.ordinary import ordinary
from flink.patients.tests.messages import NOW_MS, envelope, image, received, source
from flink.patients.verdicts import Accepted, Received

MUTATIONS = 40_000
PIECES = (b"", b"\xff", b"0", b"9", b"-", b".5", b'"', b",", b"null", b"{}", b"[", b"NaN")


def agrees(given: Received) -> bool:
    """Whether the short way took it; AssertionError where the long way says otherwise."""
    short = ordinary(given, NOW_MS)
    if short is None:
        return False
    long = examined(given, NOW_MS)
    assert isinstance(long, Accepted), (given, long)
    assert replace(short, image=None) == replace(long, image=None), given
    assert (short.image is None, long.image is None) == (False, False)
    found, wanted = json.loads(short.image or b""), json.loads(long.image or b"")
    assert (found, tuple(found)) == (wanted, SINK_KEYS), given
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in wanted.items()}
    return True


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"glucose": None, "insulin": None},
        {"bmi": 33, "glucose": 148.5},
        {"outcome": 1, "outcome_recorded_at": "2026-11-25T08:00:00Z"},
        {"note": "free text", "received_at": None},
    ],
)
def test_ordinary_changes_are_taken(op: str, values: dict[str, object]) -> None:
    assert agrees(received(envelope(op, after=image(**values))))


@pytest.mark.parametrize(
    "parts",
    [
        {"op": "d"},
        {"op": "x"},
        {"after": None},
        {"after": image(glucose="148")},
        {"after": image(glucose=0)},
        {"after": image(glucose=1e300)},
        {"after": image(age=200)},
        {"after": image(outcome=2)},
        {"after": image(8)},
        {"after": image(2**70)},
        {"after": image(received_at="yesterday")},
        {"after": {k: v for k, v in image().items() if k != "insulin"}},
        {"source": source(table="other")},
        {"source": source(lsn=0)},
        {"source": source(ts_ms=NOW_MS + CLOCK_SKEW_MS + 1)},
        {"ts_ms": None},
    ],
)
def test_what_is_not_ordinary_is_left_to_the_long_way(parts: dict[str, object]) -> None:
    assert not agrees(received(envelope(**parts)))


@pytest.mark.parametrize("key", [None, b"", b'{"id":8}', b'{"id":7,"payload":{"id":8}}', b"7"])
def test_a_key_that_says_something_else_is_left_to_the_long_way(key: bytes | None) -> None:
    assert not agrees(received(envelope(), key))


def test_a_message_with_its_schema_is_left_to_the_long_way() -> None:
    assert not agrees(received({"schema": {}, "payload": envelope()}))


def test_no_change_of_bytes_makes_the_two_ways_differ() -> None:
    chance = random.Random(7)
    whole = json.dumps(envelope(after=image(note="über"))).encode()
    taken = 0
    for _ in range(MUTATIONS):
        at, length = chance.randrange(len(whole)), chance.randrange(4)
        changed = whole[:at] + chance.choice(PIECES) + whole[at + length :]
        taken += agrees(Received(b'{"id":7}', changed, "changes"))
    assert 0 < taken < MUTATIONS
