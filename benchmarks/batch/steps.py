"""Seconds by step of one run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter


@dataclass
class Steps:
    """The seconds of each step of a run, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Record how long the block takes, under the name of the step."""
        started = perf_counter()
        yield
        self.seconds[step] = perf_counter() - started
