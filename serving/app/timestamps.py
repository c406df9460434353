"""Timestamps of PostgreSQL that Python cannot represent: infinity, BC, and years from 10000."""

from datetime import datetime

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader


class LenientTimestamptzLoader(TimestamptzLoader):
    """Loads such a timestamp as None, where psycopg fails the whole result.

    One row must not hide the others.
    """

    def load(self, data: Buffer) -> datetime | None:  # type: ignore[override]
        """Return the timestamp, or None if it is not in the years 1 to 9999."""
        try:
            return super().load(data)
        except psycopg.DataError:
            return None
