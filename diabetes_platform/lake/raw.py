"""Ingestion of a source into `raw/patients`: append-only, as received, and each content once."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from diabetes_platform.contract.tables import RAW_PATIENTS, batch_id_of
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import RETAIN_LOG, Lake, annotate, newest_commit
from diabetes_platform.lake.fetch import FetchedSource, fetch
from diabetes_platform.lake.source_files import SourceError, read_as_text

RAW_SCHEMA = row_schema(RAW_PATIENTS)
CONTENT_HASH = "content_hash"
_FIRST_LINE = 2
"""Line 1 is the header of a CSV file; a Parquet file's first row counts as line 2 too."""
_MAX_ATTEMPTS = 5
_ROW_GROUP_ROWS = 131_072
"""Engines read row groups in parallel; the default is a million rows."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One batch of the raw table; `added` is False if its content was ingested before."""

    batch_id: str
    content_hash: str
    source: str
    rows: int
    delta_version: int
    added: bool


def ingest(lake: Lake, source: str) -> RawBatch:
    """Append the rows of `source` to `raw/patients` as text, unless the table has their content.

    The commit contains the content hash as a Delta application transaction, so that two processes
    with the same content add one version. The newest commit names the content that was ingested
    last; if the table already has that content, a commit without rows names it.

    Raises SourceError, and writes no version, if the source is not a table of patients. Raises
    LakeError if the contract removes or retypes a column.
    """
    with fetch(source, lake.s3) as file:
        added = _append(lake, file)
        if not added and current_content_hash(lake) != file.content_hash:
            annotate(lake.table(RAW_PATIENTS), _commit_metadata(file))
        return RawBatch(
            batch_id=file.batch_id,
            content_hash=file.content_hash,
            source=file.name,
            rows=lake.count(RAW_PATIENTS, {"content_hash": file.content_hash}),
            delta_version=lake.table(RAW_PATIENTS).version(),
            added=added,
        )


def current_content_hash(lake: Lake) -> str | None:
    """Return the content hash that the newest commit of `raw/patients` names, or None.

    Commits of earlier releases name only the batch id; the hash is then that of the partition.
    """
    target = lake.table(RAW_PATIENTS)
    if (commit := newest_commit(target)) is None:
        return None
    if CONTENT_HASH in commit.metadata:
        return str(commit.metadata[CONTENT_HASH])
    partitions = pa.table(target.open().get_add_actions(flatten=True))[f"partition.{CONTENT_HASH}"]
    hashes = (str(content_hash) for content_hash in partitions.unique().to_pylist())
    return next((h for h in hashes if batch_id_of(h) == commit.metadata.get("batch_id")), None)


def _commit_metadata(file: FetchedSource) -> dict[str, str]:
    return {"source": file.name, "batch_id": file.batch_id, CONTENT_HASH: file.content_hash}


def _append(lake: Lake, file: FetchedSource) -> bool:
    """Commit the rows unless the table has their content; return whether they were committed."""
    _create_table(lake, file)
    target = lake.table(RAW_PATIENTS)
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        table = target.open()
        if table.transaction_version(file.content_hash) is not None:
            return False
        rows = _SourceRows(file)
        try:
            with lake.s3.errors(target.path):
                _commit(table, file, rows)
        except CommitFailedError:
            # Another process committed first, possibly the same content.
            if attempt == _MAX_ATTEMPTS:
                raise
        except DeltaError:
            if rows.error is None:
                raise
        else:
            return True
        # The writer's error hides the cause. The cause is raised outside of the `except` block, so
        # that the writer's error is not its context.
        if rows.error is not None:
            raise rows.error
    return False


def _create_table(lake: Lake, file: FetchedSource) -> None:
    """Create the empty table, or add the columns it lacks, before rows are written.

    Two writers that both create the table would not see each other's transaction. The whole source
    is read first, so that an invalid source leaves no table behind.
    """
    target = lake.table(RAW_PATIENTS)
    if not target.exists():
        deque(_SourceRows(file), maxlen=0)
    target.create(
        RAW_PATIENTS,
        partition_by="content_hash",
        configuration={
            "delta.appendOnly": "true",
            **RETAIN_LOG,
            # Spark reads every commit since the last checkpoint: a second for a hundred.
            "delta.checkpointInterval": "10",
        },
    )


def _commit(table: DeltaTable, file: FetchedSource, rows: "_SourceRows") -> None:
    # `table` is the version that was searched for the content: the same content committed since
    # then is a conflict.
    write_deltalake(
        table,
        pa.RecordBatchReader.from_batches(RAW_SCHEMA, iter(rows)),
        mode="append",
        writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP_ROWS),
        commit_properties=CommitProperties(
            app_transactions=[Transaction(file.content_hash, 1)],
            custom_metadata=_commit_metadata(file),
        ),
    )


class _SourceRows:
    """The rows of a source in the raw schema; `error` is the error that ended the iteration."""

    def __init__(self, file: FetchedSource) -> None:
        self._file = file
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        received_at = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
        origin = (pa.scalar(self._file.content_hash), pa.scalar(self._file.name), received_at)
        line = _FIRST_LINE
        try:
            for batch in read_as_text(self._file.path, self._file.name):
                rows = batch.num_rows
                lines = pa.array(np.arange(line, line + rows))
                columns = [lines, *batch.columns, *(pa.repeat(value, rows) for value in origin)]
                yield pa.record_batch(columns, schema=RAW_SCHEMA)
                line += rows
        except (SourceError, OSError) as error:
            self.error = error
        # A change explains any other error: the fault may already have been corrected.
        self.error = self._file.change_error() or self.error
        if self.error is not None:
            raise self.error
