"""Connections to the warehouse that never wait for a stopped server longer than agreed."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import Connection

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30.0


@contextmanager
def connected(url: str, seconds: float = STATEMENT_SECONDS) -> Iterator[Connection]:
    """Yield a connection for one transaction, which ends with an error after `seconds`.

    Raises psycopg.Error.
    """
    options = f"-c statement_timeout={seconds * 1000:.0f}"
    connection = psycopg.connect(url, connect_timeout=CONNECT_SECONDS, options=options)
    timer = threading.Timer(seconds, _disconnect, [connection])
    timer.daemon = True
    timer.start()
    try:
        with connection:  # commits at its end
            yield connection
    finally:
        timer.cancel()


def _disconnect(connection: Connection) -> None:
    """Shut down the socket of `connection`, so that its query raises OperationalError at once.

    A stopped server acknowledges packets and never responds: neither its own timeouts nor TCP's
    end the query.
    """
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
