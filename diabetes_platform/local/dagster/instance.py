"""Dagster's instance of a command, and the errors of its database."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from diabetes_platform.errors import PlatformError

DATABASE_ERRORS = (SQLAlchemyError, DagsterPostgresException)


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Yield the instance in DAGSTER_HOME; an error of its database becomes PlatformError."""
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except DATABASE_ERRORS as error:
        raise database_error(error) from error


def database_problem(error: Exception) -> str:
    """Return a problem of Dagster's database in a few words."""
    return f"Dagster's database does not answer ({type(error).__name__})"


def database_error(error: Exception) -> PlatformError:
    """Return the error of a command that cannot use Dagster's database."""
    return PlatformError(
        f"{database_problem(error)}: see `diabetes status`; `make up` creates a deleted one again"
    )
