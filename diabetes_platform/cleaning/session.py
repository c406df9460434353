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

SMALL_ROWS = 50_000
_FOR_SMALL = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "1",
}
"""Apache Spark's: to compile code and to plan again between stages takes longer than the work."""


@contextmanager
def spark_session(remote: str | None = None) -> "Iterator[SparkSession]":
    """Yield a new session in UTC on `remote` (`sc://host:port`), or on Sail in this process.

    Sail starts at the first call and stays warm. At the end the session is released, so that a
    server that runs for weeks does not keep it; the server and its other sessions stay.
    """
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.remote(remote or sail_url())
    # Not getOrCreate(): it returns the active session even if that is on another server.
    session: SparkSession = builder.create()
    try:
        session.conf.set("spark.sql.session.timeZone", "UTC")
        yield session
    finally:
        session.stop()


def suit(session: "SparkSession", rows: int | None) -> None:
    """Set `session` up for a batch of `rows`, where they are known to be few.

    The results are the same; engines other than Apache Spark do not know these settings.
    """
    if rows is not None and rows <= SMALL_ROWS:
        for name, value in _FOR_SMALL.items():
            session.conf.set(name, value)


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
