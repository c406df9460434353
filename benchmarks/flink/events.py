"""A backlog of change events made from a seed, and what must become of each of them."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW

DUPLICATES, BAD, DELETED = 0.03, 0.02, 0.03
CHANGED_MS = 1_760_000_000_000
_GARBAGE = (b'{"op":"c","after":{', b"\xff\xfe\x00", b"", b"[1,2]", b"null", b'"text"')
Message = tuple[bytes, bytes | None]


@dataclass(slots=True)
class Expected:
    """What the job must have made of the messages."""

    messages: int = 0
    written: int = 0
    """Images and tombstones of the sink topic."""
    duplicates: int = 0
    rejected: int = 0
    ignored: int = 0
    newest: dict[int, int | None] = field(default_factory=dict)
    """By id the lsn of its newest image, None for a deleted patient."""


def backlog(events: int, patients: int, expected: Expected, seed: int = 7) -> Iterator[Message]:
    """Yield key and value of each message and note in `expected` what it must lead to.

    `events` does not count the tombstone that follows each deletion.
    """
    chance, lsn, recent = random.Random(seed), 1_000_000, list[Message]()
    for number in range(events):
        drawn, lsn, row_id = chance.random(), lsn + 56, chance.randrange(1, patients + 1)
        key = b'{"id":%d}' % row_id
        expected.messages += 1
        if drawn < DUPLICATES and recent:
            expected.duplicates += 1
            yield recent[chance.randrange(len(recent))]
        elif drawn < DUPLICATES + BAD:
            expected.rejected += 1
            yield key, _bad(chance, row_id, lsn, number)
        elif drawn < DUPLICATES + BAD + DELETED and expected.newest.get(row_id) is not None:
            expected.newest[row_id] = None
            expected.written += 1
            yield key, _change("d", row_id, lsn, number, chance)
            expected.messages += 1
            expected.ignored += 1
            yield key, None
        else:
            op = "u" if expected.newest.get(row_id) is not None else "c"
            expected.newest[row_id] = lsn
            expected.written += 1
            message = key, _change(op, row_id, lsn, number, chance)
            recent = [*recent[-50:], message]
            yield message


def _change(op: str, row_id: int, lsn: int, number: int, chance: random.Random) -> bytes:
    image = {"id": row_id, "received_at": "2026-11-24T10:00:00.123456Z"}
    image |= {field.name: field.example for field in FEATURES}
    image |= {"outcome": None, "outcome_recorded_at": None}
    image["glucose"] = chance.randrange(60, 200)
    return json.dumps(envelope(op, image, lsn, CHANGED_MS + number // 50)).encode()


def envelope(op: str, image: object, lsn: object, changed_ms: int) -> dict[str, object]:
    """Return a change as Debezium writes it."""
    schema, table = DIABETES_NEW.name.split(".")
    source = {
        "version": "3.6.3.Final", "connector": "postgresql", "name": "diabetes_cdc",
        "ts_ms": changed_ms, "snapshot": "false", "db": "diabetes",
        "sequence": f'["{lsn}","{lsn}"]', "ts_us": changed_ms * 1000,
        "ts_ns": changed_ms * 1_000_000, "schema": schema, "table": table, "txId": 1094,
        "lsn": lsn, "xmin": None, "origin": None, "origin_lsn": None,
    }  # fmt: skip
    sides = {"before": image, "after": None} if op == "d" else {"before": None, "after": image}
    timestamps = {
        "ts_ms": changed_ms + 5,
        "ts_us": changed_ms * 1000,
        "ts_ns": changed_ms * 1_000_000,
    }
    return {**sides, "source": source, "transaction": None, "op": op, **timestamps}


def _bad(chance: random.Random, row_id: int, lsn: int, number: int) -> bytes:
    kind = chance.randrange(8)
    if kind >= len(_INVALID):
        return chance.choice(_GARBAGE)
    event = json.loads(_change("u", row_id, lsn, number, chance))
    section, name, value = _INVALID[kind]
    (event if section is None else event[section])[name] = value
    return json.dumps(event).encode()


_INVALID: tuple[tuple[str | None, str, object], ...] = (
    ("after", "glucose", "148"),
    ("after", "glucose", -5),
    ("after", "id", None),
    ("source", "lsn", None),
    (None, "op", "x"),
    (None, "after", None),
)
