"""A Kafka message and its verdict: plain values, without Flink.

They are msgspec structs, because one is created for every message: that takes a third of the time
of a named tuple.
"""

from typing import Final

import msgspec

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
IGNORED: Final = "ignored"
HEARTBEAT: Final = "heartbeat"
"""An ignored message whose time advances the watermark while nothing changes."""
NOT_COUNTED = (HEARTBEAT, IGNORED)
"""The kinds that do not count as events of a window."""
LATE: Final = "late"
DELETED: Final = "deleted"
"""Accepted, without measurements."""


class KafkaMessage(msgspec.Struct, frozen=True, gc=False):
    """A message and its topic."""

    key: bytes | None
    value: bytes | None
    topic: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A valid change of one patient.

    `image` is the sink's message, None for a deletion. `features` are the measurements in the
    contract's order, None if missing, and empty for a deletion.
    """

    id: int
    lsn: int
    changed_ms: int
    image: bytes | None
    features: tuple[float | None, ...]


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """All reasons, in the order of the message."""

    reasons: tuple[str, ...]


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A message that concerns no patient; the time is that of a heartbeat."""

    heartbeat_ms: int | None = None


Verdict = Accepted | Rejected | Ignored
