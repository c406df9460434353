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
) -> _Result:
    """Call `condition` every `interval` seconds and return its first truthy result.

    It is called at least once, and once more when `timeout` seconds have passed. Raises
    TimeoutError if the result is still falsy then; errors of `condition` pass through.
    """
    deadline = time.monotonic() + timeout
    while True:
        expired = time.monotonic() >= deadline
        result = condition()
        if result:
            return result
        if expired:
            raise TimeoutError(f"the condition did not hold within {timeout:g} s")
        time.sleep(min(interval, max(deadline - time.monotonic(), 0)))
