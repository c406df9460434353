"""The log file of runs: events of steps, and stack traces of errors."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

import dagster as dg


class RunLog:
    """Appends each event of a run to `file`, one per line.

    For an error, it writes the stack trace without the message, because a database error may quote
    a row. The message is in Dagster's event log.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Append an event."""
        event = entry.dagster_event
        if event is None:
            return
        at = datetime.fromtimestamp(entry.timestamp, UTC).isoformat(timespec="milliseconds")
        subject = event.step_key or event.job_name
        self._file.write(f"{at} {entry.run_id} {event.event_type_value} {subject}\n")
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            self._file.writelines(traceback_lines(event.step_failure_data.error))
        self._file.flush()


def traceback_lines(error: object) -> Iterator[str]:
    """Yield class and stack of a serialized error and of each of its causes."""
    while error is not None:
        yield f"{getattr(error, 'cls_name', None) or 'error'}, raised here:\n"
        yield from getattr(error, "stack", [])
        error = getattr(error, "cause", None)
