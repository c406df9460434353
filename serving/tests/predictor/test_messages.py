"""Messages are read as changes, deletions or rejected messages with all their reasons."""

import json

import pytest

from diabetes_platform.contract.change_events import Deletion
from serving.predictor.messages import ConsumedChange
from serving.tests.predictor.sample_messages import IMAGE, key, read, value
from serving.tests.samples import PATIENT


def reasons(message_key: bytes | None, message_value: bytes | None) -> list[str]:
    message = read(message_key, message_value)
    assert (message.partition, message.offset) == (3, 17)
    assert (message.key, message.value) == (message_key, message_value)
    return message.reasons


def test_an_image_is_a_change_with_its_timestamps() -> None:
    change = read(key(), value()).content
    assert isinstance(change, ConsumedChange)
    message = change.message
    assert (message.id, message.lsn) == (5, 70)
    timestamps = (message.changed_ms, message.captured_ms, message.judged_ms, change.produced_ms)
    assert [timestamp - 1_700_000_000_000 for timestamp in timestamps] == [0, 100, 300, 400]
    assert {name: message.image[name] for name in PATIENT} == PATIENT


def test_null_and_missing_codes_are_missing_values() -> None:
    change = read(key(), value(insulin=None, bmi=0)).content
    assert isinstance(change, ConsumedChange)
    assert (change.message.image["insulin"], change.message.image["bmi"]) == (None, None)


def test_ignores_unknown_columns() -> None:
    assert isinstance(read(key(), value(new_column="x")).content, ConsumedChange)


def test_a_tombstone_is_a_deletion() -> None:
    assert read(key(), None).content == Deletion(5)


REJECTED = [
    (None, None, ["key:missing"]),
    (b"5", None, ["key:not_an_object"]),
    (b"{}", None, ["key.id:missing"]),
    (key("5"), None, ["key.id:not_an_integer"]),
    (key(5), b"", ["record:not_json"]),
    (key(5), b"\xff\x00", ["record:not_json"]),
    (key(5), value()[:-9], ["record:not_json"]),
    (key(5), b"[" * 100_000, ["record:nested_too_deeply"]),
    (key(5), b'{"a":' * 100_000, ["record:nested_too_deeply"]),
    (key(5), value(glucose=float("nan")), ["record:not_json", "glucose:not_finite"]),
    (key(5), b"[]", ["record:not_an_object"]),
    (key(6), value(), ["key:mismatch"]),
    (key(True), value(id=True), ["key.id:not_an_integer", "id:not_an_integer"]),
    (key(2**63), value(id=2**63), ["key.id:above_maximum", "id:above_maximum"]),
    (key(), value(id=None), ["id:missing"]),
    (key(), value(lsn=None), ["lsn:missing"]),
    (key(), value(lsn="70"), ["lsn:not_an_integer"]),
    (key(), value(lsn=70.0), ["lsn:not_an_integer"]),
    (key(), value(lsn=-1), ["lsn:below_minimum"]),
    (key(), value(changed_ms=10**15), ["changed_ms:above_maximum"]),
    (key(), value(glucose="148"), ["glucose:not_a_number"]),
    (key(), value(glucose=True), ["glucose:not_a_number"]),
    (key(), value(glucose=[148]), ["glucose:not_a_number"]),
    (key(), value(glucose=10**400), ["glucose:not_finite"]),
    (key(), value(age=None), ["age:missing"]),
    (key(), value(pregnancies=1.5), ["pregnancies:not_an_integer"]),
    (
        None,
        value(lsn=None, judged_ms="now", glucose=9, age=200),
        [
            "key:missing",
            "lsn:missing",
            "judged_ms:not_an_integer",
            "glucose:below_minimum",
            "age:above_maximum",
        ],
    ),
]


@pytest.mark.parametrize(("message_key", "message_value", "expected"), REJECTED)
def test_rejects_an_invalid_message_with_all_reasons(
    message_key: bytes | None, message_value: bytes | None, expected: list[str]
) -> None:
    assert reasons(message_key, message_value) == expected


@pytest.mark.parametrize("name", ["id", "lsn", "changed_ms", "captured_ms", "judged_ms"])
def test_rejects_an_image_without_a_key_that_storing_needs(name: str) -> None:
    image = {other: IMAGE[other] for other in IMAGE if other != name}
    assert reasons(key(), json.dumps(image).encode()) == [f"{name}:missing"]


def test_a_valid_message_has_no_reasons() -> None:
    assert reasons(key(), value()) == reasons(key(), None) == []
