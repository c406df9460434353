"""What a person sees while the platform starts and the graph runs: rich, or plain lines."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diabetes_platform.local.dagster.batch import Outcome, Step

Timings = list[tuple[str, float]]


class Progress:
    """Lines on a console, each with the seconds since the start; `timings` are kept for a table.

    On a terminal a spinner shows what goes on; elsewhere each step is one line.
    """

    def __init__(self, console: Console, started: float | None = None) -> None:
        self.console = console
        self.timings: Timings = []
        self._started = time.perf_counter() if started is None else started
        self._status = console.status("starting") if console.is_terminal else None

    @property
    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.perf_counter() - self._started

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str, mark: str = " ") -> None:
        """Print one line."""
        line = f"[dim]{self.elapsed:6.1f} s[/dim] {mark} {escape(text)}"
        self.console.print(line, soft_wrap=True, highlight=False)

    def show(self, text: str) -> None:
        """Say beside the spinner what goes on; nothing where there is no terminal."""
        if self._status is not None:
            self._status.update(escape(text))

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Show `name` while the block runs, and keep how long it took."""
        self.show(name)
        before = time.perf_counter()
        yield
        seconds = time.perf_counter() - before
        self.timings.append((name, seconds))
        self.say(f"{name} ({seconds:.1f} s)", "[green]✓[/green]")

    def reached(self, name: str) -> None:
        """Print that `name` is there, and keep when."""
        self.timings.append((name, self.elapsed))
        self.say(name, "[green]✓[/green]")

    def step_started(self, step: Step) -> None:
        """Show which step of the graph runs now."""
        self.show(step.name.replace("__", "/"))

    def step_ended(self, step: Step) -> None:
        """Print what a step did and which of its checks failed."""
        seconds = step.seconds or 0.0
        self.timings.append((step.title, seconds))
        mark = "[green]✓[/green]" if step.error is None else "[red]✗[/red]"
        self.say(f"{step.title} ({seconds:.2f} s){_checks(step)}", mark)
        for check in step.checks:
            if not check.passed:
                self.say(str(check), "  [red]✗[/red]" if check.blocking else "  [yellow]![/yellow]")


def urls_table(rows: list[tuple[str, str]]) -> Table:
    """Return the table of what is where."""
    table = Table(title="The platform is up", title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("where", overflow="fold")
    for name, url in rows:
        table.add_row(name, url)
    return table


def timings_table(timings: Timings, total: float) -> Table:
    """Return the table of the measured times."""
    table = Table(title="Measured times", title_justify="left")
    table.add_column("step", no_wrap=True)
    table.add_column("seconds", justify="right")
    for name, seconds in timings:
        table.add_row(name, f"{seconds:.2f}")
    table.add_section()
    table.add_row("total", f"{total:.2f}")
    return table


def prediction_table(answer: dict[str, Any]) -> Table:
    """Return the table of a prediction: the result first, nested values as `name value`."""
    table = Table(title="POST /predict", title_justify="left", show_header=False)
    for name, value in answer.items():
        text = (
            ", ".join(f"{key} {inner}" for key, inner in value.items())
            if isinstance(value, dict)
            else str(value)
        )
        table.add_row(name, text)
    return table


def failure_line(outcome: Outcome, log: Path) -> str:
    """Return all that failed in a run, and where its log is, in one line."""
    return f"run {outcome.run_id} failed: {'; '.join(outcome.failures)} (log: {log})"


def rollback_line(version: int, batch_id: str, rows: int) -> str:
    """Return what is served after a rollback."""
    return (
        f"serving.patients is version {version} again: batch {batch_id}, {rows} rows; "
        "the released model stays"
    )


def model_rollback_line(version: str, withdrawn: str) -> str:
    """Return which model answers after a rollback."""
    return f"model {version} answers again; {withdrawn} is withdrawn and no batch releases it"


def _checks(step: Step) -> str:
    passed = sum(check.passed for check in step.checks)
    return f": {passed} of {len(step.checks)} checks passed" if step.checks else ""
