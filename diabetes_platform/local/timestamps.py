"""Parsing a timestamp from the command line."""

from datetime import UTC, datetime


def parse_timestamp(text: str | None) -> datetime:
    """Return the timestamp in ISO 8601 with its time zone, `2026-11-01T00:00:00Z`; None is now.

    Raises ValueError for other text.
    """
    if text is None:
        return datetime.now(UTC)
    try:
        timestamp = datetime.fromisoformat(text)
    except ValueError:
        timestamp = None
    if timestamp is None or timestamp.tzinfo is None:
        example = "2026-11-01T00:00:00Z"
        raise ValueError(f"{text!r} is not a timestamp with a time zone, for example {example}")
    return timestamp
