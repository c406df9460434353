"""Times as a message has them: text."""

from datetime import datetime


def is_time(text: str) -> bool:
    """Whether it is a time with its zone, as ISO 8601 writes it."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
