"""A second try for a step that failed for infrastructure, and none for one that was ended.

Dagster's own retry policy also tries a step again that was interrupted, so that a run could not be
ended: from the UI, by Ctrl-C, or when the platform stops.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import dagster as dg

PAUSES = (2, 6)
"""Seconds before each further try: time for a service to come back."""
_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


def retried(step: Callable[_Params, _Result]) -> Callable[_Params, _Result]:
    """Have Dagster try the step again for every error but its own, a failure and an interrupt."""

    @functools.wraps(step)
    def tried(*args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        try:
            return step(*args, **kwargs)
        except (dg.Failure, dg.DagsterError):
            # What a second try cannot mend was raised as a failure (see `refusals`).
            raise
        except Exception as error:
            tries = dg.OpExecutionContext.get().retry_number
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            raise dg.RetryRequested(len(PAUSES), pause) from error

    return tried
