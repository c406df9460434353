"""Messages as Debezium writes them, and what may become of them on the way."""

import json
from typing import Any

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW
from flink.patients.verdicts import Received

CHANGED_MS = 1_760_000_000_000
CAPTURED_MS = CHANGED_MS + 5
NOW_MS = CHANGED_MS + 60_000
TOPIC = "changes"


def image(row_id: object = 7, **values: object) -> dict[str, Any]:
    """A row of the intake table, with the contract's examples where nothing else is given."""
    features = {field.name: field.example for field in FEATURES}
    times = {"received_at": "2026-11-24T10:00:00.123456Z", "outcome_recorded_at": None}
    return {"id": row_id, **times, **features, "outcome": None, **values}


def envelope(op: object = "c", lsn: object = 100, **parts: Any) -> dict[str, Any]:
    """A change, of `image()` where no other side is given."""
    schema, table = DIABETES_NEW.name.split(".")
    source = {
        "version": "3.6.3.Final", "connector": "postgresql", "name": "diabetes_cdc",
        "ts_ms": CHANGED_MS, "snapshot": "false", "db": "diabetes", "schema": schema,
        "table": table, "txId": 7, "lsn": lsn, "xmin": None,
    }  # fmt: skip
    before, after = (made_up(), None) if op == "d" else (None, image())
    made = {"before": before, "after": after, "source": source, "transaction": None, "op": op}
    return {**made, "ts_ms": CAPTURED_MS, "ts_us": CAPTURED_MS * 1000, **parts}


def made_up(row_id: object = 7) -> dict[str, Any]:
    """What Debezium puts before a deletion: the key, and defaults in place of all else."""
    zeros: dict[str, object] = {field.name: 0 for field in FEATURES}
    return {"id": row_id, "received_at": "1970-01-01T00:00:00Z", **zeros, "outcome": None}


def source(**parts: object) -> dict[str, Any]:
    """The source of `envelope()`, changed in parts."""
    made: dict[str, Any] = envelope()["source"]
    return {**made, **parts}


def received(value: object, key: bytes | None = b'{"id":7}', topic: str = TOPIC) -> Received:
    """A message with this value: bytes as they are, None, or anything as JSON."""
    plain = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Received(key, plain, topic)
