"""Lifetimes of shared servers: from the first test that uses a server to the last one.

A session fixture would keep an idle platform, which costs half a core, until the session ends.
"""

import gc
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

import pytest


class Lifetimes:
    """Counts the remaining tests that request each shared fixture."""

    def __init__(self) -> None:
        self._remaining: Counter[str] = Counter()
        self._open: dict[str, ExitStack] = {}

    def expect(self, items: Iterable[pytest.Item]) -> None:
        """Count the fixtures of the tests of this run, before the first test."""
        self._remaining = Counter(name for item in items for name in _fixtures(item))

    def of(self, name: str) -> ExitStack:
        """Return the exit stack on which the fixture `name` enters the servers that it starts."""
        return self._open.setdefault(name, ExitStack())

    def end(self, item: pytest.Item, following: pytest.Item | None) -> None:
        """Close the servers that no test after `item` requests.

        They stay open until the end of the module, because module fixtures may use them.
        """
        for name in _fixtures(item):
            self._remaining[name] -= 1
        if following is not None and following.path == item.path:
            return
        ended = [name for name in reversed(self._open) if self._remaining[name] <= 0]
        if ended:
            gc.collect()  # a leaked client would retry to reach its server forever
        for name in ended:
            self._open.pop(name).close()


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))
