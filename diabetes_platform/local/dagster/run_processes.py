"""Processes of runs, forked from one that has imported what they need.

Dagster starts each in a new interpreter, which then reads for seconds what every run needs: longer
than an increment of the stream takes. Nothing but imports happens in the process that is forked.
"""

import functools
import multiprocessing
from typing import Any

from dagster._grpc.server import DagsterApiServer

PREPARED = [
    "diabetes_platform.definitions",
    "diabetes_platform.streaming.rebuild",
    "confluent_kafka.admin",
    "dagster._grpc.impl",
    "dagster_aws.s3.compute_log_manager",
    "dagster_postgres",
    "deltalake",
    # Arrow's own tables ask for it.
    "pandas",
]
_CONTEXT = "_mp_ctx"
"""Where Dagster's server keeps by which way it starts processes; it has no setting for it."""


def fork_runs() -> None:
    """From now on, let the code server of this process start its runs by fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PREPARED)
    made_by_dagster = DagsterApiServer.__init__

    @functools.wraps(made_by_dagster)
    def made(server: DagsterApiServer, *given: Any, **named: Any) -> None:  # noqa: ANN401 - Dagster's
        made_by_dagster(server, *given, **named)
        if not hasattr(server, _CONTEXT):
            raise RuntimeError(f"Dagster's code server has no {_CONTEXT} any more")
        setattr(server, _CONTEXT, context)

    DagsterApiServer.__init__ = made  # type: ignore[assignment, method-assign]
