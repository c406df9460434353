"""Polling: the first truthy result, the last attempt at the deadline, errors that pass through."""

import itertools
import time

import pytest

from diabetes_platform.polling import wait_until


def test_returns_the_first_truthy_result() -> None:
    attempts = itertools.count()

    assert wait_until(lambda: next(attempts), timeout=5, interval=0) == 1


def test_raises_when_the_condition_never_holds() -> None:
    with pytest.raises(TimeoutError, match=r"did not hold within 0\.05 s"):
        wait_until(lambda: False, timeout=0.05, interval=0.01)


def test_calls_the_condition_once_more_at_the_deadline() -> None:
    started = time.monotonic()

    assert wait_until(lambda: time.monotonic() - started >= 0.2, timeout=0.2, interval=60)


def test_calls_the_condition_once_when_the_timeout_is_zero() -> None:
    assert wait_until(lambda: "ready", timeout=0) == "ready"


def test_errors_of_the_condition_pass_through() -> None:
    def fail() -> bool:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        wait_until(fail, timeout=5)


def test_calls_again_after_an_error_to_retry_on() -> None:
    attempts = itertools.count()

    def fail_once() -> str:
        if next(attempts) == 0:
            raise ConnectionError("refused")
        return "ready"

    assert wait_until(fail_once, timeout=5, interval=0, retry_on=(ConnectionError,)) == "ready"


def test_raises_an_error_to_retry_on_that_lasts() -> None:
    def fail() -> bool:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        wait_until(fail, timeout=0.05, interval=0.01, retry_on=(ConnectionError,))
