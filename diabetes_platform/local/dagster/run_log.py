"""The log file of runs: events of steps, and stack traces of errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg


@contextmanager
def run_log(path: Path) -> Iterator[Callable[[dg.EventLogEntry], None]]:
    """Yield a function that appends an event of a run to the file, one per line.

    For an error, it writes the stack trace without the message, because a database error may quote
    a row. The message is in Dagster's event log.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:

        def append(entry: dg.EventLogEntry) -> None:
            event = entry.dagster_event
            if event is None:
                return
            at = datetime.fromtimestamp(entry.timestamp, UTC).isoformat(timespec="milliseconds")
            subject = event.step_key or event.job_name
            file.write(f"{at} {entry.run_id} {event.event_type_value} {subject}\n")
            if event.event_type == dg.DagsterEventType.STEP_FAILURE:
                file.writelines(traceback_lines(event.step_failure_data.error))
            file.flush()

        yield append


def traceback_lines(error: object) -> Iterator[str]:
    """Yield class and stack of a serialized error and of each of its causes."""
    while error is not None:
        yield f"{getattr(error, 'cls_name', None) or 'error'}, raised here:\n"
        yield from getattr(error, "stack", [])
        error = getattr(error, "cause", None)
