"""Spark sessions on Sail in this process, or on a Spark Connect server.

Spark is imported when a session is created, so that the code location loads fast.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

_sail_lock = threading.Lock()
_sail: "list[SparkConnectServer]" = []
"""The Sail server of this process, if it was started; it ends with the process."""

SMALL_BATCH_ROWS = 50_000
_SMALL_BATCH_SETTINGS = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "1",
}
"""For Apache Spark: code generation and adaptive planning would take longer than the query."""


@contextmanager
def spark_session(remote: str | None = None) -> "Iterator[SparkSession]":
    """Yield a new session on `remote` (`sc://host:port`), or on Sail in this process.

    Steps of Dagster have theirs from `orchestration/resources.py`.
    """
    from pyspark.sql import SparkSession

    # Not getOrCreate(): it returns the active session even if it is on another server.
    builder = SparkSession.builder.config(map=session_config(remote))
    with stopped_at_end(builder.create()) as session:
        yield session


def session_config(remote: str | None) -> dict[str, Any]:
    """Return the properties of a session on `remote`, or on Sail, which this starts."""
    return {"spark.remote": remote or sail_url(), "spark.sql.session.timeZone": "UTC"}


@contextmanager
def stopped_at_end(session: "SparkSession") -> "Iterator[SparkSession]":
    """Yield `session`; stop it, so that a long-running server does not accumulate sessions."""
    try:
        yield session
    finally:
        session.stop()


def tune_for_batch(session: "SparkSession", rows: int | None) -> None:
    """Configure `session` for a batch of `rows`; the defaults stay for None and for many rows.

    The results do not change; engines other than Apache Spark ignore these settings.
    """
    if rows is not None and rows <= SMALL_BATCH_ROWS:
        for name, value in _SMALL_BATCH_SETTINGS.items():
            session.conf.set(name, value)


def sail_url() -> str:
    """Return the Spark Connect URL of this process's Sail server; start it on the first call."""
    from pysail.spark import SparkConnectServer

    with _sail_lock:
        if not _sail:
            server = SparkConnectServer("127.0.0.1", 0)
            server.start(background=True)
            _sail.append(server)
        host, port = _sail[0].listening_address
        return f"sc://{host}:{port}"
