"""Progress of an installation: events of its steps, and how the console shows them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It imports Dagster, which the process of the stream job does not need.
    from diabetes_platform.local.console import Progress


class StepStatus(StrEnum):
    """The kind of a progress event."""

    RUNNING = "running"
    """Current activity; the next event replaces it on the console."""
    WARNING = "warning"
    """Stays visible on the console."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class StepEvent:
    """An event of a step, which is named by its path below the tools directory.

    `seconds` is the time since the step started.
    """

    step: str
    status: StepStatus
    text: str
    seconds: float


OnEvent = Callable[[StepEvent], None]


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Sends the events of one step."""

    step: str
    on_event: OnEvent
    started: float = field(default_factory=time.monotonic)

    def running(self, activity: str) -> None:
        """Report the current activity."""
        self.send(StepStatus.RUNNING, activity)

    def warn(self, text: str) -> None:
        """Report something that stays visible."""
        self.send(StepStatus.WARNING, text)

    def send(self, status: StepStatus, text: str) -> None:
        """Send an event."""
        self.on_event(StepEvent(self.step, status, text, time.monotonic() - self.started))


@contextmanager
def step_progress(
    step: str, on_event: OnEvent, *, result: str = "installed"
) -> Iterator[StepProgress]:
    """Report the start of a step, and `result` at its end unless the block fails."""
    progress = StepProgress(step, on_event)
    progress.running("starting")
    yield progress
    progress.send(StepStatus.DONE, result)


class ConsoleProgress:
    """Shows step events on a console; call it with each event.

    On a terminal the spinner shows all running steps. Elsewhere the start of a step is a line.
    """

    def __init__(self, console: "Progress") -> None:
        self._console = console
        self._running: dict[str, str] = {}

    def __call__(self, event: StepEvent) -> None:
        """Show one event."""
        console = self._console
        match event.status:
            case StepStatus.WARNING:
                console.say(f"{event.step}: {event.text}", "[yellow]![/yellow]")
            case StepStatus.DONE:
                self._running.pop(event.step, None)
                console.timings.append((event.step, event.seconds))
                line = f"{event.step} {event.text} ({event.seconds:.1f} s)"
                console.say(line, "[green]✓[/green]")
            case StepStatus.RUNNING:
                if event.step not in self._running and not console.console.is_terminal:
                    console.say(f"{event.step}: {event.text}")
                self._running[event.step] = event.text
        console.show(" · ".join(f"{step}: {text}" for step, text in self._running.items()))
