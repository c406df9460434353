"""What a topic becomes: the table of the lake, the row of a message, how many are read at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from diabetes_platform.lake import increments as lake
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.increments import Grown
from diabetes_platform.streaming import images, rejected_rows, window_rows
from diabetes_platform.streaming.messages import Row, TopicMessage
from diabetes_platform.streaming.ranges import MOST_MESSAGES


@dataclass(frozen=True, slots=True)
class Destination:
    """One table that a topic becomes.

    `row_of` returns the row of a message of a day, or raises UnreadableError. A run reads at most
    `most_messages` of a partition, all of them in memory at once.
    """

    grown: Grown
    row_of: Callable[[TopicMessage, date], Row]
    most_messages: int = MOST_MESSAGES

    def table_of(self, rows: Iterable[Row]) -> pa.Table:
        """Return the rows as Arrow has them, each key once: Flink may write one again."""
        key = self.grown.table.key
        first: dict[tuple[object, ...], Row] = {}
        for row in rows:
            first.setdefault(tuple(row[name] for name in key), row)
        return pa.Table.from_pylist(list(first.values()), schema=row_schema(self.grown.table))


PATIENTS = Destination(lake.PATIENTS, images.row_of)
REJECTED = Destination(lake.REJECTED, rejected_rows.row_of, most_messages=500)
"""A dead letter may have a mebibyte, where an image has a kibibyte."""
WINDOWS = Destination(lake.WINDOWS, window_rows.row_of)
