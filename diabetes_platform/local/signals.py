"""Handling of the signals that interrupt a command."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore further signals, so that an orderly stop completes; it has its own time limits."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def restore_sigint() -> None:
    """Let SIGINT interrupt this process even if it was started in the background.

    A shell makes background jobs ignore SIGINT. Dagster then ignores SIGTERM as well, and every
    child inherits that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
