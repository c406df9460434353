"""Servers that many tests share live from the first of these tests to the last, and no longer.

A session's fixture ends with the session: an idle platform would cost half a core until then.
"""

import gc
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

import pytest


class Lifetimes:
    """Counts, by name of a fixture, the tests to come that ask for it."""

    def __init__(self) -> None:
        self._awaited: Counter[str] = Counter()
        self._open: dict[str, ExitStack] = {}

    def expect(self, items: Iterable[pytest.Item]) -> None:
        """Take note of the tests of this run, before the first of them."""
        self._awaited = Counter(name for item in items for name in _fixtures(item))

    def of(self, name: str) -> ExitStack:
        """Return where the fixture `name` enters what it starts; whoever is first closes it."""
        return self._open.setdefault(name, ExitStack())

    def end(self, item: pytest.Item, following: pytest.Item | None) -> None:
        """Close what `item`, which has run, or its module was the last to ask for.

        A module's own fixtures may hold on to a server until its last test.
        """
        for name in _fixtures(item):
            self._awaited[name] -= 1
        if following is not None and following.path == item.path:
            return
        ended = [name for name in reversed(self._open) if self._awaited[name] <= 0]
        if ended:
            gc.collect()  # a client that a test left behind would look for its server for ever
        for name in ended:
            self._open.pop(name).close()


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))
