"""The private names of Dagster in `dagster_internals.py` are those of the installed version."""

import importlib.util
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._grpc.server import DagsterApiServer
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from diabetes_platform.dagster_internals import RUN_MODULE, TESTED

HINT = (
    f"Dagster {dg.__version__} is installed. Check each name in diabetes_platform/"
    f"dagster_internals.py, which was tested with {TESTED}, look for a public hook, and set TESTED"
)


def test_the_installed_version_was_tested() -> None:
    assert dg.__version__.startswith(f"{TESTED}."), HINT


@pytest.mark.parametrize(
    ("initializer", "name"),
    [
        (DagsterApiServer.__init__, "_mp_ctx"),
        (PostgresRunStorage.__init__, "_engine"),
        (PostgresEventLogStorage.__init__, "_engine"),
        (PostgresScheduleStorage.__init__, "_engine"),
    ],
)
def test_the_private_attribute_exists(initializer: Callable[..., Any], name: str) -> None:
    assert name in initializer.__code__.co_names, f"no {name} any more. {HINT}"


def test_the_module_of_runs_exists() -> None:
    assert importlib.util.find_spec(RUN_MODULE) is not None, HINT
