"""Polling a condition until it holds or a deadline passes."""

import time
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def wait_until(
    condition: Callable[[], _Result],
    *,
    timeout: float,
    interval: float = 0.1,
    retry_on: tuple[type[Exception], ...] = (),
) -> _Result:
    """Call `condition` every `interval` seconds and return its first truthy result.

    An error of a type in `retry_on` counts as a result that is not truthy. The condition is called
    at least once, and once more when `timeout` seconds have passed. If it still does not hold then,
    its error is raised, or TimeoutError if it returned. All other errors pass through.
    """
    deadline = time.monotonic() + timeout
    while True:
        expired = time.monotonic() >= deadline
        try:
            result = condition()
        except retry_on:
            if expired:
                raise
        else:
            if result:
                return result
            if expired:
                raise TimeoutError(f"the condition did not hold within {timeout:g} s")
        time.sleep(min(interval, max(deadline - time.monotonic(), 0)))
