"""The log as a handler of the root logger receives it.

Pytest's `caplog` also receives the records of loggers that do not propagate, which no handler of
the platform does.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recorded_root_log() -> Iterator[io.StringIO]:
    """Collect every record that reaches the root logger, from DEBUG on."""
    root, text = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
