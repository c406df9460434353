"""The private names of Dagster that the platform uses: Dagster has no public hook for them.

`test_dagster_internals.py` fails if an upgrade of Dagster changes one of them.
"""

import functools
from multiprocessing.context import BaseContext
from typing import Any

from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._grpc.server import DagsterApiServer
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy.engine import Engine

__all__ = [
    "RUN_MODULE",
    "TESTED",
    "ConfigurableClassData",
    "FreshnessState",
    "FreshnessStateChange",
    "share_engine",
    "start_runs_with",
]

TESTED = "1.13"
"""The minor version of Dagster that these names were checked with."""
_START_CONTEXT = "_mp_ctx"
RUN_MODULE = "dagster._grpc.impl"
"""The module that the process of a run imports first."""


def share_engine(storage: DagsterPostgresStorage, engine: Engine) -> None:
    """Let the storage use the connections of `engine`; its own engine has no pool."""
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        vars(part)["_engine"] = engine


def start_runs_with(context: BaseContext) -> None:
    """Make the code servers in this process start the processes of runs with `context`.

    Dagster's default is `spawn`, a new interpreter for each run.
    """
    original = DagsterApiServer.__init__

    @functools.wraps(original)
    def with_context(server: DagsterApiServer, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Dagster's
        original(server, *args, **kwargs)
        if _START_CONTEXT not in vars(server):
            raise RuntimeError(f"Dagster's code server no longer has {_START_CONTEXT}")
        vars(server)[_START_CONTEXT] = context

    DagsterApiServer.__init__ = with_context  # type: ignore[assignment, method-assign]
