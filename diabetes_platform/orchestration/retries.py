"""Retries of asset steps: infrastructure errors are retried, errors of the input are not."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import dagster as dg

from diabetes_platform.cleaning.spark_jobs import CleaningError
from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.s3 import PermanentStorageError
from diabetes_platform.lake.delta import LakeError
from diabetes_platform.lake.source_files import SourceError
from diabetes_platform.warehouse.promotion import PromotionError

PAUSES = (2, 6)
"""Seconds before each retry: time for a service to come back."""
NON_RETRYABLE: tuple[type[Exception], ...] = (
    PermanentStorageError,
    SourceError,
    LakeError,
    CleaningError,
    PromotionError,
    BundleError,
)
_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


def retried(step: Callable[_Params, _Result]) -> Callable[_Params, _Result]:
    """Request a retry of the step after every exception except dg.Failure and Dagster's own.

    Dagster's retry policy is not used because it also retries an interrupted step: such a run could
    not be ended from the UI, by Ctrl-C, or when the platform stops.
    """

    @functools.wraps(step)
    def with_retries(*args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        try:
            return step(*args, **kwargs)
        except (dg.Failure, dg.DagsterError):
            raise
        except Exception as error:
            retry_number = dg.OpExecutionContext.get().retry_number
            pause = PAUSES[min(retry_number, len(PAUSES) - 1)]
            raise dg.RetryRequested(len(PAUSES), pause) from error

    return with_retries


@contextmanager
def non_retryable_errors(*additional: type[Exception]) -> Iterator[None]:
    """Turn NON_RETRYABLE and `additional` errors into a dg.Failure that is not retried."""
    try:
        yield
    except (*NON_RETRYABLE, *additional) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
