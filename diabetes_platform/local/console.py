"""Console output of commands: progress lines, a spinner on a terminal, tables."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diabetes_platform.local.dagster.batch import RunOutcome, Step

Timings = list[tuple[str, float]]


class Progress:
    """Progress lines on a console, each with the seconds since the start.

    On a terminal a spinner shows the current activity. `timings` collects durations for a table.
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

    def say(self, text: str, symbol: str = " ") -> None:
        """Print a line."""
        line = f"[dim]{self.elapsed:6.1f} s[/dim] {symbol} {escape(text)}"
        self.console.print(line, soft_wrap=True, highlight=False)

    def show(self, activity: str) -> None:
        """Show the current activity beside the spinner; does nothing without a terminal."""
        if self._status is not None:
            self._status.update(escape(activity))

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Show `name` while the block runs, and record its duration."""
        self.show(name)
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.timings.append((name, seconds))
        self.say(f"{name} ({seconds:.1f} s)", "[green]✓[/green]")

    def reached(self, name: str) -> None:
        """Print that `name` is ready, and record the time since the start."""
        self.timings.append((name, self.elapsed))
        self.say(name, "[green]✓[/green]")

    def step_started(self, step: Step) -> None:
        """Show the step that runs now."""
        self.show(step.name.replace("__", "/"))

    def step_ended(self, step: Step) -> None:
        """Print the result of a step and its failed checks."""
        seconds = step.seconds or 0.0
        self.timings.append((step.title, seconds))
        symbol = "[green]✓[/green]" if step.error is None else "[red]✗[/red]"
        self.say(f"{step.title} ({seconds:.2f} s){_passed_checks(step)}", symbol)
        for check in step.checks:
            if not check.passed:
                self.say(str(check), "  [red]✗[/red]" if check.blocking else "  [yellow]![/yellow]")


def facts_table(
    rows: Iterable[tuple[str, str]], title: str | None = None, headers: tuple[str, str] = ("", "")
) -> Table:
    """Return a table of names and values; empty `headers` are not shown."""
    table = Table(title=title, title_justify="left", show_header=any(headers))
    table.add_column(headers[0], no_wrap=True)
    table.add_column(headers[1], overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def timings_table(timings: Timings, total: float) -> Table:
    """Return the table of measured durations in seconds."""
    table = Table(title="Measured times", title_justify="left")
    table.add_column("step", no_wrap=True)
    table.add_column("seconds", justify="right")
    for name, seconds in timings:
        table.add_row(name, f"{seconds:.2f}")
    table.add_section()
    table.add_row("total", f"{total:.2f}")
    return table


def prediction_table(prediction: dict[str, Any]) -> Table:
    """Return the table of a prediction; nested values are shown as `name value`."""
    rows = []
    for name, value in prediction.items():
        if isinstance(value, dict):
            text = ", ".join(f"{key} {entry}" for key, entry in value.items())
        else:
            text = str(value)
        rows.append((name, text))
    return facts_table(rows, "POST /predict")


def failure_line(outcome: RunOutcome, log: Path) -> str:
    """Return one line with the rows of the batch, all failures of a run, and its log."""
    problems = "; ".join(outcome.failures)
    if outcome.rows is not None:
        # The failed check of the rejected rows would repeat them.
        problems = f"{outcome.rows}; {problems.replace(f': {outcome.rows}', '')}"
    return f"run {outcome.run_id} failed: {problems} (log: {log})"


def success_lines(outcome: RunOutcome, seconds: float) -> list[str]:
    """Return the rows of the batch, the checks that warn, and that the run succeeded."""
    lines = [] if outcome.rows is None else [outcome.rows]
    if outcome.warnings:
        lines.append(f"warnings: {', '.join(outcome.warnings)}")
    if outcome.training_skipped:
        lines.append("not trained: too few outcomes; the released model stays")
    return [*lines, f"run {outcome.run_id} succeeded ({seconds:.1f} s)"]


def rollback_line(version: int, batch_id: str, rows: int) -> str:
    """Return the line that a rollback of the table prints."""
    return (
        f"serving.patients is version {version} again: batch {batch_id}, {rows} rows; "
        "the released model stays"
    )


def model_rollback_line(version: str, withdrawn: str) -> str:
    """Return the line that a rollback of the model prints."""
    return f"model {version} answers again; {withdrawn} is withdrawn and no batch releases it"


def _passed_checks(step: Step) -> str:
    passed = sum(check.passed for check in step.checks)
    return f": {passed} of {len(step.checks)} checks passed" if step.checks else ""
