"""A moment as a person writes it on the command line."""

from datetime import UTC, datetime


def read_moment(text: str | None) -> datetime:
    """Read a time with its zone, `2026-11-01T00:00:00Z`; None is now. ValueError for others."""
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        allowed = "allowed a time with its zone, for example 2026-11-01T00:00:00Z"
        raise ValueError(f"given {text!r}, {allowed}")
    return moment
