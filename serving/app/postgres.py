"""Properties of PostgreSQL's connections that the API and the predictor share."""

import os
import socket
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader


class LenientTimestamptzLoader(TimestamptzLoader):
    """Loads a timestamp that Python cannot represent as None: infinity, BC, years from 10000.

    psycopg would fail the whole result, and one row must not hide the others.
    """

    def load(self, data: Buffer) -> datetime | None:  # type: ignore[override]
        """Return the timestamp, or None if it is not in the years 1 to 9999."""
        try:
            return super().load(data)
        except psycopg.DataError:
            return None


def disconnect(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
    """Shut down the socket of `connection`, so that its query raises OperationalError at once.

    A stopped server acknowledges packets and never responds: neither its own timeouts nor TCP's
    end the query, and a cancelled query waits for the server.
    """
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
