"""What one message of Kafka is, and what is said of it: plain values, nothing of Flink.

Of msgspec: one is made for each message, which takes a third of a named tuple's time.
"""

from typing import Final

import msgspec

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
IGNORED: Final = "ignored"
HEARTBEAT: Final = "heartbeat"
"""Ignored as well; besides, it says how late it is while nothing changes."""
LATE: Final = "late"
DELETED: Final = "deleted"
"""Accepted, and without measurements."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message as Kafka has it, and the topic that it came from."""

    key: bytes | None
    value: bytes | None
    topic: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A valid change of one patient.

    `image` is the sink's message, None where the patient was deleted; `features` are the
    measurements in the contract's order, None where missing, empty for a deletion.
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
    """Nothing about a patient; a heartbeat has its time."""

    heartbeat_ms: int | None = None


Verdict = Accepted | Rejected | Ignored
