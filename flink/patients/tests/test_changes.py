"""The verdict on each kind of message, and the agreement of fast decode and diagnosis."""

import json
import random
from typing import Any

import pytest
from msgspec.structs import replace

from diabetes_platform.contract.change_events import CLOCK_SKEW_MS, SINK_KEYS
from diabetes_platform.contract.fields import FEATURES, FIELDS
from diabetes_platform.contract.topics import HEARTBEAT_TOPIC
from flink.patients.changes import classify, decode_valid_change, diagnose
from flink.patients.messages import Accepted, Ignored, KafkaMessage, Rejected, Verdict
from flink.patients.tests.messages import (
    CAPTURED_MS,
    CHANGED_MS,
    NOW_MS,
    envelope,
    image,
    message,
    source,
)

WITHOUT_GLUCOSE = {name: value for name, value in image().items() if name != "glucose"}
TOO_DEEP = b'{"op":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
SKEWED = NOW_MS + CLOCK_SKEW_MS + 1
YEAR_MS = 365 * 24 * 3_600_000
MUTATIONS = 40_000
FRAGMENTS = (b"", b"\xff", b"0", b"9", b"-", b".5", b'"', b",", b"null", b"{}", b"[", b"NaN")


def verdict_on(value: object, key: bytes | None = b'{"id":7}') -> Verdict:
    return classify(message(value, key), NOW_MS)


def accepted(value: object, key: bytes | None = b'{"id":7}') -> Accepted:
    verdict = verdict_on(value, key)
    assert isinstance(verdict, Accepted), verdict
    return verdict


def sink_content(value: object) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(accepted(value).image or b"")
    return content


@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_a_valid_change_becomes_a_flat_message_with_exactly_the_sink_keys(op: str) -> None:
    content = sink_content(envelope(op, 100))
    assert tuple(content) == SINK_KEYS
    assert content == {
        **image(),
        "op": op,
        "lsn": 100,
        "changed_ms": CHANGED_MS,
        "captured_ms": CAPTURED_MS,
        "judged_ms": NOW_MS,
    }


@pytest.mark.parametrize(
    ("epoch", "position"),
    [(None, 100), ("0", 100), ("1", 2**44 + 100), ("008016", 8016 * 2**44 + 100)],
)
def test_a_later_epoch_has_a_greater_position(epoch: str | None, position: int) -> None:
    for op in ("c", "u", "r"):
        event = envelope(op, 100, capture_epoch=epoch)
        assert sink_content(event)["lsn"] == accepted(event).lsn == position
    assert accepted(envelope("d", 100, capture_epoch=epoch)).lsn == position
    assert accepted(envelope(lsn=2**44 - 1, capture_epoch="1")).lsn < 2 * 2**44


def test_a_message_with_its_schema_is_accepted_like_one_without() -> None:
    wrapped = {"schema": {"type": "struct", "fields": []}, "payload": envelope()}
    key = b'{"schema":{"type":"struct"},"payload":{"id":7}}'
    assert accepted(wrapped, key) == accepted(envelope())


def test_unknown_columns_are_dropped() -> None:
    extended = envelope(after=image(note="free text", new_column=1))
    assert sink_content(extended) == sink_content(envelope())


def test_a_deletion_has_no_image_although_before_has_values() -> None:
    content = accepted(envelope("d", 9))
    assert (content.id, content.lsn, content.image, content.features) == (7, 9, None, ())


def test_a_code_for_missing_is_written_as_missing() -> None:
    codes = {field.name: field.missing_codes[0] for field in FIELDS if field.missing_codes}
    assert codes
    content = sink_content(envelope(after=image(**codes)))
    assert [content[name] for name in codes] == [None] * len(codes)


def test_whole_numbers_are_written_as_such() -> None:
    content = sink_content(envelope(after=image(pregnancies=6.0, outcome=1.0)))
    assert (repr(content["pregnancies"]), repr(content["outcome"])) == ("6", "1")


def test_features_have_the_contracts_order() -> None:
    assert accepted(envelope()).features == tuple(field.example for field in FEATURES)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"status": "BEGIN", "id": "571:53195829", "event_count": None, "ts_ms": CHANGED_MS},
        {"status": "END", "id": "571:53195829", "event_count": 2, "ts_ms": CHANGED_MS},
        {"schema": None, "payload": {"status": "END", "id": "571", "ts_ms": CHANGED_MS}},
        {"schema": None, "payload": None},
    ],
    ids=["tombstone", "begin", "end", "end with schema", "tombstone with schema"],
)
def test_ignores_messages_that_concern_no_patient(value: object) -> None:
    assert verdict_on(value) == Ignored()


def test_a_heartbeat_keeps_its_time() -> None:
    beat = message({"ts_ms": CHANGED_MS}, b"{}", HEARTBEAT_TOPIC)
    assert classify(beat, NOW_MS) == Ignored(CHANGED_MS)


@pytest.mark.parametrize("value", [b"{", b"[]", None, {}, {"ts_ms": "1"}, {"ts_ms": SKEWED}])
def test_a_heartbeat_without_a_valid_time_has_none(value: object) -> None:
    assert classify(message(value, b"{}", HEARTBEAT_TOPIC), NOW_MS) == Ignored()


MALFORMED: list[tuple[object, list[str]]] = [
    (b"", ["message:not_json"]),
    (b'{"op":"c","after":{', ["message:not_json"]),
    (json.dumps(envelope()).encode()[:-1], ["message:not_json"]),
    (b"\xff\xfe\x00garbage", ["message:not_json"]),
    (b"\x00\x00\x00\x00\x01avro", ["message:not_json"]),
    (b'{"n":' + b"9" * 5000 + b"x", ["message:not_json"]),
    (TOO_DEEP, ["message:nested_too_deeply"]),
    (b"null", ["message:not_an_object"]),
    (b"[1,2,3]", ["message:not_an_object"]),
    (b'"text"', ["message:not_an_object"]),
    (b"12", ["message:not_an_object"]),
    ({"schema": None, "payload": "x"}, ["message:not_an_object"]),
    ({}, ["op:missing", "source:missing", "ts_ms:missing", "after:missing"]),
]


@pytest.mark.parametrize(("value", "reasons"), MALFORMED)
def test_rejects_what_is_no_change_event(value: object, reasons: list[str]) -> None:
    assert verdict_on(value) == Rejected(tuple(reasons))


@pytest.mark.parametrize(
    ("parts", "reasons"),
    [
        ({"op": None}, ["op:missing"]),
        ({"op": "x"}, ["op:not_allowed"]),
        ({"op": "t"}, ["op:not_allowed"]),
        ({"op": 1}, ["op:not_allowed"]),
        ({"op": ["c"]}, ["op:not_allowed"]),
        ({"source": None}, ["source:missing"]),
        ({"source": "postgresql"}, ["source:not_an_object"]),
        ({"source": source(lsn=None)}, ["source.lsn:missing"]),
        ({"source": source(lsn="100")}, ["source.lsn:not_an_integer"]),
        ({"source": source(lsn=1.5)}, ["source.lsn:not_an_integer"]),
        ({"source": source(lsn=True)}, ["source.lsn:not_an_integer"]),
        ({"source": source(lsn=2**63)}, ["source.lsn:above_maximum"]),
        ({"source": source(lsn=10**40)}, ["source.lsn:above_maximum"]),
        ({"source": source(lsn=-1)}, ["source.lsn:below_minimum"]),
        ({"capture_epoch": ""}, ["capture_epoch:not_an_integer"]),
        ({"capture_epoch": "-1"}, ["capture_epoch:not_an_integer"]),
        ({"capture_epoch": "1\n"}, ["capture_epoch:not_an_integer"]),
        ({"capture_epoch": "1000000"}, ["capture_epoch:not_an_integer"]),
        ({"capture_epoch": 1}, ["capture_epoch:not_an_integer"]),
        ({"capture_epoch": "524288"}, ["capture_epoch:above_maximum"]),
        ({"capture_epoch": "524287", "source": source(lsn=2**44)}, ["source.lsn:above_maximum"]),
        ({"source": source(table="other")}, ["source.table:not_allowed"]),
        ({"source": source(table=None)}, ["source.table:not_allowed"]),
        ({"source": source(schema="staging")}, ["source.table:not_allowed"]),
        ({"source": source(ts_ms=None)}, ["source.ts_ms:missing"]),
        ({"source": source(ts_ms=NOW_MS + YEAR_MS)}, ["source.ts_ms:in_the_future"]),
        ({"source": source(ts_ms=SKEWED)}, ["source.ts_ms:in_the_future"]),
        ({"ts_ms": SKEWED}, ["ts_ms:in_the_future"]),
        ({"ts_ms": None}, ["ts_ms:missing"]),
        ({"ts_ms": "1760000000000"}, ["ts_ms:not_an_integer"]),
        ({"after": None}, ["after:missing"]),
        ({"after": [image()]}, ["after:not_an_object"]),
        ({"op": "d", "before": None}, ["before:missing"]),
        ({"before": None, "after": None}, ["after:missing"]),
        ({"after": image(None)}, ["id:missing"]),
        ({"after": image("7")}, ["id:not_an_integer"]),
        ({"after": image(7.0)}, ["id:not_an_integer"]),
        ({"after": image(0)}, ["id:below_minimum"]),
        ({"after": image(-7)}, ["id:below_minimum"]),
        ({"after": image(8)}, ["key:mismatch"]),
        ({"op": "d", "after": None, "before": {"id": 8}}, ["key:mismatch"]),
        ({"after": image(received_at=5)}, ["received_at:not_text"]),
        ({"after": image(outcome_recorded_at=5)}, ["outcome_recorded_at:not_text"]),
        ({"after": image(received_at="yesterday")}, ["received_at:not_a_time"]),
        ({"after": image(received_at="")}, ["received_at:not_a_time"]),
        ({"after": image(received_at="2026-01-01T00:00:00")}, ["received_at:not_a_time"]),
        (
            {"after": image(outcome_recorded_at="2026-13-01T00:00:00Z")},
            ["outcome_recorded_at:not_a_time"],
        ),
        ({"after": image(glucose="148")}, ["glucose:not_a_number"]),
        ({"after": image(glucose="")}, ["glucose:not_a_number"]),
        ({"after": image(glucose=True)}, ["glucose:not_a_number"]),
        ({"after": image(glucose=[148])}, ["glucose:not_a_number"]),
        ({"after": image(glucose=-5)}, ["glucose:below_minimum"]),
        ({"after": image(glucose=1e300)}, ["glucose:above_maximum"]),
        ({"after": image(age=None)}, ["age:missing"]),
        ({"after": image(pregnancies=1.5)}, ["pregnancies:not_an_integer"]),
        ({"after": image(outcome=2)}, ["outcome:not_allowed"]),
        ({"after": WITHOUT_GLUCOSE}, ["glucose:missing"]),
    ],
)
def test_rejects_a_change_with_its_reason(parts: dict[str, Any], reasons: list[str]) -> None:
    assert verdict_on(envelope(**parts)) == Rejected(tuple(reasons))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "key:missing"),
        (b"", "key:not_json"),
        (b"7", "key:not_an_object"),
        (b"{}", "key:mismatch"),
        (b'{"id":"7"}', "key:mismatch"),
        (b'{"id":8}', "key:mismatch"),
        (b'{"id":7.0}', "key:mismatch"),
        (b'{"schema":null,"payload":7}', "key:mismatch"),
    ],
)
def test_rejects_a_key_that_is_not_the_rows_id(key: bytes | None, reason: str) -> None:
    assert verdict_on(envelope(), key) == Rejected((reason,))


def test_rejects_nan_and_infinity_as_json_and_as_measurement() -> None:
    for name in ("NaN", "Infinity", "-Infinity", "1e999"):
        value = json.dumps(envelope(after=image(glucose=-1234))).replace("-1234", name)
        assert verdict_on(value.encode()) == Rejected(("message:not_json", "glucose:not_finite"))


def test_names_all_reasons_in_the_order_of_the_message() -> None:
    broken = envelope("x", None, ts_ms=None, after=image("7", glucose="148", insulin=-1, age=None))
    assert verdict_on(broken, None) == Rejected(
        (
            "key:missing",
            "op:not_allowed",
            "source.lsn:missing",
            "ts_ms:missing",
            "id:not_an_integer",
            "glucose:not_a_number",
            "insulin:below_minimum",
            "age:missing",
        )
    )


def test_a_clock_may_be_a_little_ahead_and_any_time_behind() -> None:
    ahead = envelope(source=source(ts_ms=NOW_MS + CLOCK_SKEW_MS))
    assert accepted(ahead).changed_ms == NOW_MS + CLOCK_SKEW_MS
    behind = envelope(source=source(ts_ms=NOW_MS - YEAR_MS))
    assert accepted(behind).changed_ms == NOW_MS - YEAR_MS


@pytest.mark.parametrize("length", range(0, 900, 7))
def test_rejects_a_message_that_is_cut_anywhere(length: int) -> None:
    content = json.dumps(envelope()).encode()
    assert isinstance(verdict_on(content[:length]), Rejected) == (length < len(content))


def is_decoded(content: KafkaMessage) -> bool:
    """Whether the fast decode accepts it; AssertionError where the diagnosis differs."""
    decoded = decode_valid_change(content, NOW_MS)
    if decoded is None:
        return False
    diagnosed = diagnose(content, NOW_MS)
    assert isinstance(diagnosed, Accepted), (content, diagnosed)
    assert replace(decoded, image=None) == replace(diagnosed, image=None), content
    if decoded.image is None:
        assert diagnosed.image is None
        return True
    actual, expected = json.loads(decoded.image or b""), json.loads(diagnosed.image or b"")
    assert (actual, tuple(actual)) == (expected, SINK_KEYS), content
    assert {k: type(v) for k, v in actual.items()} == {k: type(v) for k, v in expected.items()}
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
def test_the_fast_decode_accepts_valid_changes(op: str, values: dict[str, object]) -> None:
    assert is_decoded(message(envelope(op, after=image(**values))))
    assert is_decoded(message(envelope(op, after=image(**values), capture_epoch="7")))


def test_the_fast_decode_accepts_a_deletion() -> None:
    assert is_decoded(message(envelope("d")))


@pytest.mark.parametrize(
    "parts",
    [
        {"op": "d", "before": {"id": 8}},
        {"op": "d", "before": {"id": 0}},
        {"op": "d", "before": {"id": 7}, "ts_ms": NOW_MS + CLOCK_SKEW_MS + 1},
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
        {"capture_epoch": None},
        {"capture_epoch": "524288"},
        {"capture_epoch": "1\n"},
        {"capture_epoch": "٣"},
    ],
)
def test_the_fast_decode_leaves_other_messages_to_the_diagnosis(parts: dict[str, object]) -> None:
    assert not is_decoded(message(envelope(**parts)))


@pytest.mark.parametrize("key", [None, b"", b'{"id":8}', b'{"id":7,"payload":{"id":8}}', b"7"])
def test_the_fast_decode_leaves_another_key_to_the_diagnosis(key: bytes | None) -> None:
    assert not is_decoded(message(envelope(), key))


def test_the_fast_decode_leaves_a_message_with_its_schema_to_the_diagnosis() -> None:
    assert not is_decoded(message({"schema": {}, "payload": envelope()}))


def test_fast_decode_and_diagnosis_agree_on_mutated_bytes() -> None:
    generator = random.Random(7)
    contents = [json.dumps(envelope(after=image(note="über"))).encode()] * 3
    contents.append(json.dumps(envelope("d", capture_epoch="1")).encode())
    decoded = 0
    for number in range(MUTATIONS):
        content = contents[number % len(contents)]
        start, length = generator.randrange(len(content)), generator.randrange(4)
        mutated = content[:start] + generator.choice(FRAGMENTS) + content[start + length :]
        decoded += is_decoded(KafkaMessage(b'{"id":7}', mutated, "changes"))
    assert 0 < decoded < MUTATIONS
