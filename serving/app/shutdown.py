"""Being told to stop before the server waits for its open answers: a stream would never end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_to_stop(callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` on the loop when the process is told to stop, besides what is set already.

    Only a main thread hears signals; elsewhere who runs the server ends the streams.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        then = before[signal.Signals(number)]
        if callable(then):
            then(number, frame)

    for number in _SIGNALS:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
