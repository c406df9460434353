"""The messages of the sink topic as changes to score, deletions and invalid messages.

The validation itself is the contract's (`change_events.py`).
"""

from dataclasses import dataclass

from diabetes_platform.contract.change_events import (
    Deletion,
    Invalid,
    SinkImage,
    validate_sink_message,
)


@dataclass(frozen=True, slots=True)
class ConsumedChange:
    """A patient's change to score, and the timestamp of its message (ms since 1970)."""

    message: SinkImage
    produced_ms: int


@dataclass(frozen=True, slots=True)
class ConsumedMessage:
    """A message with its position, decoded and validated."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    content: ConsumedChange | Deletion | Invalid

    @property
    def reasons(self) -> list[str]:
        """All reasons why the message is invalid, each written `field:code`; empty if it is not."""
        content = self.content
        return [str(reason) for reason in content.reasons] if isinstance(content, Invalid) else []


def read_message(
    partition: int, offset: int, produced_ms: int, key: bytes | None, value: bytes | None
) -> ConsumedMessage:
    """Decode and validate one message. Never raises, whatever the bytes are."""
    content = validate_sink_message(key, value)
    if isinstance(content, SinkImage):
        change = ConsumedChange(content, produced_ms)
        return ConsumedMessage(partition, offset, key, value, change)
    return ConsumedMessage(partition, offset, key, value, content)
