"""Invalid change events, as a broken source would send them, for load runs. Pure functions."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from diabetes_platform.contract.change_events import IMAGE_KEYS
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import DIABETES_NEW

Event = tuple[bytes | None, bytes | None]
"""Key and value."""

FIRST_UNUSED_ID = 2**40
"""No patient has this id or a higher one, so a broken event cannot change a real patient."""

_SCHEMA, _TABLE = DIABETES_NEW.name.split(".")


def change_event(
    intake_id: int, patient: Mapping[str, float | None], *, lsn: int, now_ms: int
) -> dict[str, Any]:
    """Return the insertion of an intake row as Debezium writes it, without its schema."""
    image = dict.fromkeys(IMAGE_KEYS) | dict(patient)
    image |= {"id": intake_id, "received_at": "2026-01-01T00:00:00Z"}
    source = {"schema": _SCHEMA, "table": _TABLE, "lsn": lsn, "ts_ms": now_ms, "snapshot": "false"}
    return {"before": None, "after": image, "source": source, "op": "c", "ts_ms": now_ms}


def _without_lsn(event: dict[str, Any]) -> None:
    del event["source"]["lsn"]


def _unknown_operation(event: dict[str, Any]) -> None:
    event["op"] = "x"


def _without_image(event: dict[str, Any]) -> None:
    event["after"] = None


def _number_as_text(event: dict[str, Any]) -> None:
    event["after"]["age"] = "50"


def _too_large(event: dict[str, Any]) -> None:
    for field in FEATURES:
        event["after"][field.name] = field.maximum + 1


def _negative(event: dict[str, Any]) -> None:
    event["after"]["pregnancies"] = -1


def _required_missing(event: dict[str, Any]) -> None:
    event["after"]["diabetes_pedigree_function"] = None


def _id_as_text(event: dict[str, Any]) -> None:
    event["after"]["id"] = str(event["after"]["id"])


FAULTS: tuple[Callable[[dict[str, Any]], None], ...] = (
    _without_lsn,
    _unknown_operation,
    _without_image,
    _number_as_text,
    _too_large,
    _negative,
    _required_missing,
    _id_as_text,
)
KINDS = len(FAULTS) + 3
"""The number of kinds of broken events."""


def broken_event(kind: int, event: dict[str, Any]) -> Event:
    """Return `event` with the fault `kind % KINDS`; `event` is modified."""
    kind %= KINDS
    key = json.dumps({"id": event["after"]["id"]}).encode()
    if kind < len(FAULTS):
        FAULTS[kind](event)
        return key, json.dumps(event).encode()
    value = json.dumps(event).encode()
    return [(key, value[: len(value) // 2]), (key, b"\xff\xfe\x00"), (None, value)][
        kind - len(FAULTS)
    ]
