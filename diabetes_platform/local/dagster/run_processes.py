"""Processes of runs, forked from a process that has already imported what a run needs.

A new interpreter would import for seconds, which is longer than a run of the stream takes. The
forked process does nothing but import.
"""

import multiprocessing
import pkgutil

from diabetes_platform import defs
from diabetes_platform.dagster_internals import RUN_MODULE, start_runs_with

PRELOADED = [
    "diabetes_platform.definitions",
    "confluent_kafka.admin",
    RUN_MODULE,
    # Loading the defs folder imports it.
    "dagster_aws.components",
    "dagster_aws.s3.compute_log_manager",
    "dagster_postgres",
    # With Spark's client: 27 MiB, shared by all runs.
    "dagster_pyspark",
    "deltalake",
    # pyarrow imports it for tables.
    "pandas",
]


def fork_runs() -> None:
    """Make the code server in this process start runs by fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *_definition_modules()])
    start_runs_with(context)


def _definition_modules() -> list[str]:
    """Return the modules that `dg.load_from_defs_folder` imports."""
    return [module.name for module in pkgutil.walk_packages(defs.__path__, f"{defs.__name__}.")]
