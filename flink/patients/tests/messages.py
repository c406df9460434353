"""Kafka messages as Debezium writes them, with chosen faults."""

import json
from typing import Any

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW
from flink.patients.messages import KafkaMessage

CHANGED_MS = 1_760_000_000_000
CAPTURED_MS = CHANGED_MS + 5
NOW_MS = CHANGED_MS + 60_000
TOPIC = "changes"


def image(row_id: object = 7, **values: object) -> dict[str, Any]:
    """Return a row of the intake table with the contract's examples, updated by `values`."""
    features = {field.name: field.example for field in FEATURES}
    times = {"received_at": "2026-11-24T10:00:00.123456Z", "outcome_recorded_at": None}
    return {"id": row_id, **times, **features, "outcome": None, **values}


def envelope(op: object = "c", lsn: object = 100, **parts: Any) -> dict[str, Any]:
    """Return a change event with `image()` on its side, updated by `parts`."""
    schema, table = DIABETES_NEW.name.split(".")
    source = {
        "version": "3.6.3.Final", "connector": "postgresql", "name": "diabetes_cdc",
        "ts_ms": CHANGED_MS, "snapshot": "false", "db": "diabetes", "schema": schema,
        "table": table, "txId": 7, "lsn": lsn, "xmin": None,
    }  # fmt: skip
    sides = (
        {"before": deleted_row(), "after": None}
        if op == "d"
        else {"before": None, "after": image()}
    )
    event = {**sides, "source": source, "transaction": None, "op": op}
    return {**event, "ts_ms": CAPTURED_MS, "ts_us": CAPTURED_MS * 1000, **parts}


def deleted_row(row_id: object = 7) -> dict[str, Any]:
    """Return the `before` of a deletion: the key, and Debezium's defaults in the other columns."""
    zeros: dict[str, object] = {field.name: 0 for field in FEATURES}
    return {"id": row_id, "received_at": "1970-01-01T00:00:00Z", **zeros, "outcome": None}


def source(**parts: object) -> dict[str, Any]:
    """Return the source of `envelope()`, updated by `parts`."""
    source: dict[str, Any] = envelope()["source"]
    return {**source, **parts}


def message(value: object, key: bytes | None = b'{"id":7}', topic: str = TOPIC) -> KafkaMessage:
    """Return a message with this value: bytes and None as they are, anything else as JSON."""
    content = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return KafkaMessage(key, content, topic)
