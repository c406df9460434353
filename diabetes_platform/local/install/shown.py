"""An installation's reports on a console: a spinner for what goes on, a line for what is done."""

from diabetes_platform.local.console import Progress
from diabetes_platform.local.install.report import Report, State


class Shown:
    """Shows each report it is called with; where there is no terminal, also what begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._doing: dict[str, str] = {}

    def __call__(self, report: Report) -> None:
        """Show one report."""
        progress = self._progress
        if report.state == State.NOTE:
            progress.say(f"{report.part}: {report.text}", "[yellow]![/yellow]")
        elif report.state == State.DONE:
            self._doing.pop(report.part, None)
            progress.timings.append((report.part, report.seconds))
            progress.say(
                f"{report.part} {report.text} ({report.seconds:.1f} s)", "[green]✓[/green]"
            )
        else:
            if report.part not in self._doing and not progress.console.is_terminal:
                progress.say(f"{report.part}: {report.text}")
            self._doing[report.part] = report.text
        progress.show(" · ".join(f"{part}: {text}" for part, text in self._doing.items()))
