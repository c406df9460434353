"""Writing a source into `raw/patients`: append-only, as received, each content once."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from diabetes_platform.contract.tables import RAW_PATIENTS
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import KEPT_FOR_GOOD, Lake
from diabetes_platform.lake.fetch import FetchedSource, fetched
from diabetes_platform.lake.source_files import SourceError, read_as_text

RAW_SCHEMA = row_schema(RAW_PATIENTS)
_FIRST_LINE = 2
"""Line 1 is the header of a CSV file; a Parquet file's first row counts as line 2 too."""
_TRIES = 5
_ROW_GROUP_ROWS = 131_072
"""Engines read a file's row groups in parallel; by default a million rows are one group."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One batch of the raw table: `added` is False where its content was there already."""

    batch_id: str
    content_hash: str
    source: str
    rows: int
    delta_version: int
    added: bool


def ingest(lake: Lake, source: str) -> RawBatch:
    """Append the rows of `source` to `raw/patients` as text, unless their content is there.

    The commit carries the content hash as a Delta application transaction, so that two processes
    that bring the same content at once add one version. Raises SourceError, and writes no
    version, where the source cannot be read as this table.
    """
    with fetched(source, lake.s3) as file:
        added = _append(lake, file)
        return RawBatch(
            batch_id=file.batch_id,
            content_hash=file.content_hash,
            source=file.name,
            rows=lake.count(RAW_PATIENTS, {"content_hash": file.content_hash}),
            delta_version=lake.table(RAW_PATIENTS).version(),
            added=added,
        )


def _append(lake: Lake, file: FetchedSource) -> bool:
    """Commit the rows unless their content is there; False where it is."""
    _create_table(lake, file)
    target = lake.table(RAW_PATIENTS)
    for attempt in range(1, _TRIES + 1):
        table = target.open()
        if table.transaction_version(file.content_hash) is not None:
            return False
        rows = _Rows(file)
        try:
            with lake.s3.errors(target.path):
                _commit(table, file, rows)
        except CommitFailedError:
            # Another process committed first: perhaps this very content.
            if attempt == _TRIES:
                raise
        except DeltaError:
            if rows.error is None:
                raise
        else:
            return True
        if rows.error is not None:
            # The writer wraps what stopped the rows in its own words: give the cause instead,
            # here, where the writer's error is no context of it.
            raise rows.error
    return False


def _create_table(lake: Lake, file: FetchedSource) -> None:
    """Create the empty table: two first writers of rows would not see each other's transaction.

    The source is read through before, so that one that is refused leaves no table behind.
    """
    target = lake.table(RAW_PATIENTS)
    if not target.exists():
        deque(_Rows(file), maxlen=0)
        target.create(
            RAW_PATIENTS,
            partition_by="content_hash",
            # What was received is kept for good, and so is the log of it.
            configuration={
                "delta.appendOnly": "true",
                **KEPT_FOR_GOOD,
                # Spark reads each commit since the last checkpoint anew: a second for a hundred.
                "delta.checkpointInterval": "10",
            },
        )


def _commit(table: DeltaTable, file: FetchedSource, rows: "_Rows") -> None:
    # `table` is the very snapshot in which the content was looked for: the same content
    # committed since then is a conflict.
    write_deltalake(
        table,
        pa.RecordBatchReader.from_batches(RAW_SCHEMA, iter(rows)),
        mode="append",
        writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP_ROWS),
        commit_properties=CommitProperties(
            app_transactions=[Transaction(file.content_hash, 1)],
            custom_metadata={"source": file.name, "batch_id": file.batch_id},
        ),
    )


class _Rows:
    """The rows of a source in the raw schema; `error` is what stopped them, if anything did."""

    def __init__(self, file: FetchedSource) -> None:
        self._file = file
        self._received_at = datetime.now(UTC)
        self.error: SourceError | OSError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        line = _FIRST_LINE
        try:
            for batch in read_as_text(self._file.path, self._file.name):
                yield self._with_origin(batch, line)
                line += batch.num_rows
        except (SourceError, OSError) as error:
            self.error = error
        # Rows of a file that changed belong to no hash, and a fault in them may be gone by now.
        self.error = self._file.change() or self.error
        if self.error is not None:
            raise self.error

    def _with_origin(self, batch: pa.RecordBatch, line: int) -> pa.RecordBatch:
        rows = batch.num_rows
        received_at = pa.scalar(self._received_at, pa.timestamp("us", "UTC"))
        return pa.record_batch(
            [
                pa.array(np.arange(line, line + rows)),
                *batch.columns,
                pa.repeat(pa.scalar(self._file.content_hash), rows),
                pa.repeat(pa.scalar(self._file.name), rows),
                pa.repeat(received_at, rows),
            ],
            schema=RAW_SCHEMA,
        )
