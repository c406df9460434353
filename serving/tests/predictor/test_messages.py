"""Each message is a change, a deletion, or rejected with all its reasons."""

import json

import pytest

from diabetes_platform.contract.fields import FEATURES
from serving.predictor.messages import Change, Deleted, Rejected, read_message, reasons_json
from serving.tests.predictor.messages import IMAGE, PLACE, key, value


def reasons(given_key: bytes | None, given_value: bytes | None) -> list[str]:
    read = read_message(PLACE, given_key, given_value)
    assert isinstance(read, Rejected)
    assert (read.metadata, read.key, read.value) == (PLACE, given_key, given_value)
    return list(read.reasons)


def test_an_image_is_a_change_with_its_stamps() -> None:
    read = read_message(PLACE, key(), value())
    assert isinstance(read, Change)
    assert (read.intake_id, read.source_lsn) == (5, 70)
    stamps = (read.changed_ms, read.captured_ms, read.judged_ms, read.produced_ms)
    assert [one - 1_700_000_000_000 for one in stamps] == [0, 100, 300, 400]
    assert read.patient.model_dump() == {field.name: field.example for field in FEATURES}


def test_what_was_not_measured_is_missing() -> None:
    read = read_message(PLACE, key(), value(insulin=None, bmi=0))
    assert isinstance(read, Change)
    assert (vars(read.patient)["insulin"], vars(read.patient)["bmi"]) == (None, None)


def test_further_columns_are_not_looked_at() -> None:
    assert isinstance(read_message(PLACE, key(), value(new_column="x")), Change)


def test_a_tombstone_is_a_deletion() -> None:
    assert read_message(PLACE, key(), None) == Deleted(5)


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


@pytest.mark.parametrize(("given_key", "given_value", "expected"), REJECTED)
def test_all_that_is_wrong_is_said(
    given_key: bytes | None, given_value: bytes | None, expected: list[str]
) -> None:
    assert reasons(given_key, given_value) == expected


@pytest.mark.parametrize("name", ["id", "lsn", "changed_ms", "captured_ms", "judged_ms"])
def test_each_key_that_storing_needs_is_demanded(name: str) -> None:
    image = {one: IMAGE[one] for one in IMAGE if one != name}
    assert reasons(key(), json.dumps(image).encode()) == [f"{name}:missing"]


def test_reasons_are_a_json_list() -> None:
    read = read_message(PLACE, None, None)
    assert isinstance(read, Rejected)
    assert json.loads(reasons_json(read)) == ["key:missing"]
