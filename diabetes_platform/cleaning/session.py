"""Spark sessions: Sail in this process, or a Spark Connect server elsewhere.

Nothing of Spark is imported before a session is asked for: a code location must load fast.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

_sail_lock = threading.Lock()
_sail: "list[SparkConnectServer]" = []
"""The process's one Sail server, once started; it ends with the process."""


@contextmanager
def spark_session(remote: str | None = None) -> "Iterator[SparkSession]":
    """Yield a new session in UTC on `remote` (`sc://host:port`), or on Sail in this process.

    Sail starts at the first call and stays warm. Only the client's channel is closed at the end:
    the server, its other sessions and its caches stay as they are.
    """
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.remote(remote or sail_url())
    # Not getOrCreate(): it returns the active session even if that is on another server.
    session: SparkSession = builder.create()
    try:
        session.conf.set("spark.sql.session.timeZone", "UTC")
        yield session
    finally:
        session.client.close()


def sail_url() -> str:
    """Return the Spark Connect URL of this process's Sail server, started if need be."""
    from pysail.spark import SparkConnectServer

    with _sail_lock:
        if not _sail:
            server = SparkConnectServer("127.0.0.1", 0)
            server.start(background=True)
            _sail.append(server)
        host, port = _sail[0].listening_address
        return f"sc://{host}:{port}"
