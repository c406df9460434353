"""The log file of graph runs: what happened in which step, and where in the code it failed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

import dagster as dg


class RunLog:
    """Appends each event of a run to `file`, a line each.

    Of an error it writes where it was raised, but not its message: a database's may quote a row.
    The message is in Dagster's event log.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Take in one event."""
        event = entry.dagster_event
        if event is None:
            return
        at = datetime.fromtimestamp(entry.timestamp, UTC).isoformat(timespec="milliseconds")
        where = event.step_key or event.job_name
        self._file.write(f"{at} {entry.run_id} {event.event_type_value} {where}\n")
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            self._file.writelines(traceback_lines(event.step_failure_data.error))
        self._file.flush()


def traceback_lines(error: object) -> Iterator[str]:
    """Yield class and stack of a serialized error and of each of its causes."""
    while error is not None:
        yield f"{getattr(error, 'cls_name', None) or 'error'}, raised here:\n"
        yield from getattr(error, "stack", [])
        error = getattr(error, "cause", None)
