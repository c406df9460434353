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

    An error of a type in `retry_on` counts as a falsy result. The condition is called at least
    once, and a last time after `timeout` seconds. If that call fails, its error is raised; if its
    result is falsy, TimeoutError is raised. All other errors pass through.
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
