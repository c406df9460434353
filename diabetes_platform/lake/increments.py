"""Appending increments of the stream to tables of the lake: each row once, offsets in the commit.

The table is what knows how far it has come: the newest offset of each partition that it has with
all before it is a Delta application transaction of the commit that brought it. Each commit leaves
a small file; every so many of a day are made one at once, for what an increment costs grows with
the number of files.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
)

from diabetes_platform.contract.stream_tables import STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.contract.tables import STREAM_PATIENTS, Table
from diabetes_platform.lake.delta import Lake, LakeError

SMALL_BYTES = 2**20
"""A file below this is small; what many small ones are made is hardly larger."""
MOST_SMALL_FILES = 16
"""Of a day, before they are made one: a twentieth of a second, and the work of hardly any more."""

_AFTER_COMMIT = PostCommitHookProperties(cleanup_expired_logs=False)
"""Who looks for expired logs lists all of a month; maintenance does, once a day."""

Bounds = Callable[[pa.Table], dict[str, pa.ChunkedArray]]


@dataclass(frozen=True, slots=True)
class Grown:
    """A table that grows by increments; its key says which row is there already.

    `bounds` gives values by column between which every row lies that may be one of those that are
    given: any of them, for the files' statistics.
    """

    table: Table
    bounds: Bounds

    @property
    def configuration(self) -> dict[str, str | None]:
        """Delta's own settings of the table."""
        indexed = [column for column in self.table.columns if column.type != "bytes"]
        return {
            # Each commit since the last checkpoint is read anew.
            "delta.checkpointInterval": "10",
            # What is read by its statistics alone; bytes stand last, and have none.
            "delta.dataSkippingNumIndexedCols": str(len(indexed)),
        }


def _of_changes(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    """An image is found by its lsn, a deletion, which has none, by its offset."""
    deletions = pc.is_null(rows["lsn"])
    return {"lsn": rows["lsn"], "kafka_offset": rows["kafka_offset"].filter(deletions)}


def _of_messages(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {"kafka_offset": rows["kafka_offset"]}


PATIENTS = Grown(STREAM_PATIENTS, _of_changes)
REJECTED = Grown(STREAM_REJECTED, _of_messages)
WINDOWS = Grown(STREAM_WINDOWS, _of_messages)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a commit says of a range: the offsets `first` to `last` of a partition, all of `day`.

    `advances` where the table has all offsets before them, so that it has all up to `last` then.
    """

    topic: str
    topic_id: str
    partition: int
    first: int
    last: int
    day: str
    advances: bool = True

    @property
    def transaction(self) -> str:
        """The name by which the newest offset is asked for."""
        return _transaction(self.topic, self.topic_id, self.partition)


def _said(marks: Sequence[Mark]) -> dict[str, str]:
    """Return what stands in the commit of ranges of one topic and day."""
    first = marks[0]
    said = {name: str(getattr(first, name)) for name in ("topic", "topic_id", "day")}
    said["offsets"] = ",".join(f"{each.partition}:{each.first}-{each.last}" for each in marks)
    return said if all(each.advances for each in marks) else {**said, "rebuilt": "true"}


@dataclass(frozen=True, slots=True)
class Added:
    """Rows that were not there yet, and the table's version with them."""

    rows: int
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Growing:
    """A table that is open: what an increment asks of it costs one reading of its log."""

    lake: Lake
    grown: Grown
    table: DeltaTable

    def committed_offsets(
        self, topic: str, topic_id: str, partitions: Iterable[int]
    ) -> dict[int, int]:
        """Return by partition the newest offset that the table has with all before it.

        A partition of which it has none is left out. Raises StorageError.
        """
        named = {each: _transaction(topic, topic_id, each) for each in partitions}
        with self.lake.s3.errors(self._path):
            found = {each: self.table.transaction_version(name) for each, name in named.items()}
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def add(self, rows: pa.Table, marks: Sequence[Mark]) -> Added:
        """Add the rows whose key is not there; one commit with the offsets of all `marks`.

        `rows` has the schema of the table and each key once. `marks` are of one topic and day,
        each of another partition. Doing it again adds nothing. Only files with such rows are read,
        and small ones are made one in time, so that the cost does not grow with the table. Raises
        CommitFailedError where another writer was faster, StorageError.
        """
        table = self.table
        advancing = [each for each in marks if each.advances]
        transactions = [Transaction(each.transaction, each.last) for each in advancing]
        properties = CommitProperties(custom_metadata=_said(marks), app_transactions=transactions)
        with self.lake.s3.errors(self._path):
            added = _merge(table, rows, self.grown, properties) if rows.num_rows else 0
            if not added and advancing:
                # Where nothing is new, merging makes no version: the offsets need one.
                table.create_write_transaction(
                    [],
                    mode="append",
                    schema=table.schema(),
                    partition_by=["day"],
                    commit_properties=properties,
                    post_commithook_properties=_AFTER_COMMIT,
                )
                table.update_incremental()
            _merge_small_files(table, marks[0].day)
        return Added(added, table.version())

    @property
    def _path(self) -> str:
        return self.lake.table(self.grown.table).path


def create_table(lake: Lake, grown: Grown = PATIENTS) -> None:
    """Create the empty table unless it is there."""
    target = lake.table(grown.table)
    target.create(grown.table, partition_by="day", configuration=grown.configuration)


def open_or_create(lake: Lake, grown: Grown = PATIENTS) -> Growing:
    """Open the table, made empty where there is none. Raises StorageError."""
    try:
        return _open(lake, grown)
    except LakeError:
        create_table(lake, grown)
        return _open(lake, grown)


def _open(lake: Lake, grown: Grown) -> Growing:
    return Growing(lake, grown, lake.table(grown.table).open())


def committed_offsets(
    lake: Lake, topic: str, topic_id: str, partitions: Iterable[int], grown: Grown = PATIENTS
) -> dict[int, int]:
    """Return what `Growing.committed_offsets` does, nothing where there is no table."""
    try:
        table = _open(lake, grown)
    except LakeError:
        return {}
    return table.committed_offsets(topic, topic_id, partitions)


def add(lake: Lake, rows: pa.Table, marks: Sequence[Mark], grown: Grown = PATIENTS) -> Added:
    """Do what `Growing.add` does. Raises LakeError where there is no table."""
    return _open(lake, grown).add(rows, marks)


def count_rows(lake: Lake, day: str, grown: Grown = PATIENTS) -> int:
    """Count the rows of a day as the table's log knows them: no file is opened."""
    target = lake.table(grown.table)
    with lake.s3.errors(target.path):
        files = pa.table(target.open().get_add_actions(flatten=True))
    if not files.num_rows:
        return 0
    of_day = pc.equal(files["partition.day"], day)
    return int(pc.sum(files["num_records"].filter(of_day)).as_py() or 0)


def _merge(table: DeltaTable, rows: pa.Table, grown: Grown, properties: CommitProperties) -> int:
    same = " AND ".join(f"target.{name} = source.{name}" for name in grown.table.key)
    merged = (
        table.merge(
            rows,
            f"{same} AND ({_near(grown.bounds(rows))})",
            source_alias="source",
            target_alias="target",
            streamed_exec=False,
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=properties,
            post_commithook_properties=_AFTER_COMMIT,
        )
        .when_not_matched_insert_all()
        .execute()
    )
    return int(merged["num_target_rows_inserted"])


def _merge_small_files(table: DeltaTable, day: str) -> None:
    files = pa.table(table.get_add_actions(flatten=True))
    of_day = pc.equal(files["partition.day"], day)
    small = files.filter(pc.and_(of_day, pc.less(files["size_bytes"], SMALL_BYTES)))
    if small.num_rows > MOST_SMALL_FILES:
        table.optimize.compact(
            [("day", "=", day)],
            target_size=SMALL_BYTES,
            writer_properties=WriterProperties(compression="ZSTD"),
            post_commithook_properties=_AFTER_COMMIT,
        )


def _near(bounds: dict[str, pa.ChunkedArray]) -> str:
    """Return what is true of every row that may be there already."""
    terms = []
    for column, values in bounds.items():
        found = pc.min_max(values).as_py()
        if found["min"] is not None:
            terms.append(f"target.{column} BETWEEN {found['min']} AND {found['max']}")
    return " OR ".join(terms)


def _transaction(topic: str, topic_id: str, partition: int) -> str:
    return f"{topic}/{topic_id}/{partition}"
