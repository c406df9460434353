"""The validation of the stream's messages: change events and images of the sink topic."""

import json
import math
from typing import Any, get_args

import pytest

from diabetes_platform.contract.change_events import (
    CLOCK_SKEW_MS,
    SINK_KEYS,
    Change,
    Deletion,
    Document,
    EnvelopeField,
    Invalid,
    SinkImage,
    validate_change_event,
    validate_sink_message,
)
from diabetes_platform.contract.fields import FEATURE_NAMES, FEATURES, FIELD_NAMES, FIELDS, Field
from diabetes_platform.contract.tables import DIABETES_NEW
from diabetes_platform.contract.topics import WINDOW_KEYS
from diabetes_platform.contract.validation import parse, reason_for

CHANGED_MS = 1_760_000_000_000
CAPTURED_MS = CHANGED_MS + 5
NOW_MS = CHANGED_MS + 60_000
ROW: Document = {
    "id": 7,
    "received_at": "2026-11-24T10:00:00.123456Z",
    **{field.name: field.example for field in FEATURES},
    "outcome": None,
    "outcome_recorded_at": None,
}
SINK_MESSAGE: Document = {
    **ROW,
    "op": "c",
    "lsn": 100,
    "changed_ms": CHANGED_MS,
    "captured_ms": CAPTURED_MS,
    "judged_ms": NOW_MS,
}


def key(row_id: object = 7) -> bytes:
    return json.dumps({"id": row_id}).encode()


def change_event(**values: object) -> Change | Invalid | None:
    """Validate a change event whose row is `ROW` with these values."""
    schema, table = DIABETES_NEW.name.split(".")
    source = {"lsn": 100, "ts_ms": CHANGED_MS, "schema": schema, "table": table}
    event = {"op": "c", "ts_ms": CAPTURED_MS, "source": source, "after": ROW | values}
    return validate_change_event(key(), json.dumps(event).encode(), NOW_MS)


def sink_content(**values: object) -> bytes:
    return json.dumps(SINK_MESSAGE | values).encode()


def reasons(result: object) -> list[str]:
    assert isinstance(result, Invalid), result
    return [str(reason) for reason in result.reasons]


def sink_image(**values: object) -> SinkImage:
    result = validate_sink_message(key(), sink_content(**values))
    assert isinstance(result, SinkImage), result
    return result


@pytest.mark.parametrize(
    "values",
    [
        {"lsn": 2**44 + 7, "op": "r"},
        {"changed_ms": CHANGED_MS - 1, "captured_ms": 1, "judged_ms": 2},
        {"glucose": float(f"{ROW['glucose']}")},
        {"received_at": "2026-11-24T12:00:00.123456+02:00"},
        {"column_of_another_release": 1},
    ],
)
def test_the_digest_depends_on_nothing_but_the_values_of_the_row(values: Document) -> None:
    assert sink_image(**values).digest == sink_image().digest


@pytest.mark.parametrize(
    "values",
    [
        {"glucose": 101.5},
        {"glucose": None},
        {"outcome": 0, "outcome_recorded_at": "2026-11-25T10:00:00Z"},
        {"outcome": 1, "outcome_recorded_at": "2026-11-25T10:00:00Z"},
        {"received_at": "2026-11-24T10:00:00.123457Z"},
        {"received_at": "0001-01-01T00:00:00+12:00"},
        {"received_at": "9999-12-31T23:59:59-12:00"},
    ],
)
def test_the_digest_changes_with_every_value(values: Document) -> None:
    assert sink_image(**values).digest != sink_image().digest


def test_no_envelope_field_shares_its_name_with_a_measurement() -> None:
    assert not set(get_args(EnvelopeField)) & set(FIELD_NAMES)


def test_a_window_has_a_mean_and_a_missing_share_for_every_feature() -> None:
    keys = WINDOW_KEYS.all
    assert len(set(keys)) == len(keys)
    for name in FEATURE_NAMES:
        assert {f"{name}_mean", f"{name}_missing_share"} <= set(keys)


def test_an_accepted_change_becomes_a_message_that_the_sinks_readers_accept() -> None:
    change = change_event()
    assert isinstance(change, Change)
    message = change.sink_message(NOW_MS)
    assert tuple(message) == SINK_KEYS
    image = validate_sink_message(key(), json.dumps(message).encode())
    assert isinstance(image, SinkImage)
    assert image.image == change.image == ROW
    assert (image.op, image.lsn, image.judged_ms) == ("c", 100, NOW_MS)


def values_around(field: Field) -> list[object]:
    """Numbers at and around the bounds of `field`, and numbers that no measurement may be."""
    bounds = (field.minimum, field.maximum)
    around = [bound + step for bound in bounds for step in (-1, -0.5, 0, 0.5, 1)]
    return [*around, *map(float, bounds), *field.missing_codes, 0, 0.0, True, 1e308]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_both_messages_get_the_row_validators_verdict_on_every_number(field: Field) -> None:
    for value in values_around(field):
        expected = reason_for(field, value)
        content = sink_content(**{field.name: value})
        for result in (
            change_event(**{field.name: value}),
            validate_sink_message(key(), content),
        ):
            if expected is not None:
                assert reasons(result) == [str(expected)], value
            else:
                assert isinstance(result, Change), (value, result)
                assert result.image[field.name] == parse(field, value).value


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_null_is_missing_where_the_field_is_required(field: Field) -> None:
    result = change_event(**{field.name: None})
    if field.required:
        assert reasons(result) == [f"{field.name}:missing"]
    else:
        assert isinstance(result, Change)


def test_a_tombstone_of_the_sink_topic_is_a_deletion() -> None:
    assert validate_sink_message(key(), None) == Deletion(7)


def test_unknown_keys_of_a_sink_message_are_dropped() -> None:
    image = validate_sink_message(key(), sink_content(note="free text"))
    assert isinstance(image, SinkImage)
    assert image.image == ROW


@pytest.mark.parametrize(
    ("message_key", "content", "expected"),
    [
        (None, None, ["key:missing"]),
        (b"5", None, ["key:not_an_object"]),
        (b"{}", None, ["key.id:missing"]),
        (key("7"), None, ["key.id:not_an_integer"]),
        (key(), b"", ["record:not_json"]),
        (key(), b"\xff\x00", ["record:not_json"]),
        (key(), sink_content()[:-9], ["record:not_json"]),
        (key(), b"[" * 100_000, ["record:nested_too_deeply"]),
        (key(), b"[]", ["record:not_an_object"]),
        (key(), sink_content(glucose=math.nan), ["record:not_json", "glucose:not_finite"]),
        (key(8), sink_content(), ["key:mismatch"]),
        (key(True), sink_content(id=True), ["key.id:not_an_integer", "id:not_an_integer"]),
        (key(2**63), sink_content(id=2**63), ["key.id:above_maximum", "id:above_maximum"]),
        (key(), sink_content(op="d"), ["op:not_allowed"]),
        (key(), sink_content(op=None), ["op:missing"]),
        (key(), sink_content(lsn="70"), ["lsn:not_an_integer"]),
        (key(), sink_content(lsn=-1), ["lsn:below_minimum"]),
        (key(), sink_content(changed_ms=10**15), ["changed_ms:above_maximum"]),
        (key(), sink_content(received_at="today"), ["received_at:not_a_time"]),
        (key(), sink_content(glucose="148"), ["glucose:not_a_number"]),
        (key(), sink_content(glucose=10**400), ["glucose:not_finite"]),
        (
            None,
            sink_content(lsn=None, judged_ms="now", glucose=9, age=200),
            [
                "key:missing",
                "lsn:missing",
                "judged_ms:not_an_integer",
                "glucose:below_minimum",
                "age:above_maximum",
            ],
        ),
    ],
)
def test_rejects_a_sink_message_with_all_reasons(
    message_key: bytes | None, content: bytes | None, expected: list[str]
) -> None:
    assert reasons(validate_sink_message(message_key, content)) == expected


@pytest.mark.parametrize("name", ["id", "op", "lsn", "changed_ms", "captured_ms", "judged_ms"])
def test_rejects_a_sink_message_without_a_required_key(name: str) -> None:
    message = {field: SINK_MESSAGE[field] for field in SINK_KEYS if field != name}
    result = validate_sink_message(key(), json.dumps(message).encode())
    assert reasons(result) == [f"{name}:missing"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"age": 200}, None),
        ({"glucose": -1}, None),
        ({"outcome": 2}, None),
        ({"pregnancies": 2**31}, "pregnancies:above_maximum"),
        ({"pregnancies": 1.5}, "pregnancies:not_an_integer"),
        ({"age": None}, "age:missing"),
        ({"bmi": "27"}, "bmi:not_a_number"),
    ],
)
def test_without_ranges_a_measurement_need_only_fit_its_type(
    values: dict[str, Any], expected: str | None
) -> None:
    result = validate_sink_message(key(), sink_content(**values), ranges=False)
    if expected is not None:
        assert reasons(result) == [expected]
    else:
        assert isinstance(result, SinkImage)
        assert values.items() <= result.image.items()


def test_a_timestamp_may_lie_ahead_by_the_clock_skew() -> None:
    event = {"op": "c", "ts_ms": NOW_MS + CLOCK_SKEW_MS + 1}
    assert "ts_ms:in_the_future" in reasons(
        validate_change_event(key(), json.dumps(event).encode(), NOW_MS)
    )
