"""What an installation tells while it runs, for whoever shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """What a report says about its part."""

    DOING = "doing"
    """What goes on now; the next report replaces it."""
    NOTE = "note"
    """Something that a person should see also later."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Report:
    """One line about a part, named by its path below the tools; `seconds` since it began."""

    part: str
    state: State
    text: str
    seconds: float


OnReport = Callable[[Report], None]


@dataclass(frozen=True, slots=True)
class Reporter:
    """Reports on one part."""

    part: str
    on_report: OnReport
    started: float = field(default_factory=time.monotonic)

    def doing(self, text: str) -> None:
        """Say what goes on now."""
        self._report(State.DOING, text)

    def note(self, text: str) -> None:
        """Say something that is not to be overlooked."""
        self._report(State.NOTE, text)

    def _report(self, state: State, text: str) -> None:
        self.on_report(Report(self.part, state, text, time.monotonic() - self.started))


@contextmanager
def reported(part: str, on_report: OnReport, *, done: str = "installed") -> Iterator[Reporter]:
    """Report that a part begins, and that it is `done` unless the block fails."""
    reporter = Reporter(part, on_report)
    reporter.doing("starting")
    yield reporter
    reporter._report(State.DONE, done)  # noqa: SLF001 - nobody else may say so
