"""Appending increments of the stream to `stream/patients`: each change once, offsets in the commit.

The table is what knows how far it has come: the newest offset of each partition that it has with
all before it is a Delta application transaction of the commit that brought it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.lake.tables import Lake

_CONFIGURATION = {
    # Each commit since the last checkpoint is read anew: a run adds four.
    "delta.checkpointInterval": "20",
    # Below what is read by its statistics alone: all of the columns.
    "delta.dataSkippingNumIndexedCols": str(len(STREAM_PATIENTS.columns)),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What a commit says of itself: the offsets `first` to `last` of a partition, all of `day`.

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

    @property
    def metadata(self) -> dict[str, str]:
        """What stands in the commit."""
        names = ("topic", "topic_id", "partition", "first", "last", "day")
        said = {name: str(getattr(self, name)) for name in names}
        return said if self.advances else {**said, "rebuilt": "true"}


@dataclass(frozen=True, slots=True)
class Added:
    """Rows that were not there yet, and the table's version with them."""

    rows: int
    version: int


def create_table(lake: Lake) -> None:
    """Create the empty table unless it is there."""
    target = lake.table(STREAM_PATIENTS)
    target.create(STREAM_PATIENTS, partition_by="day", configuration=_CONFIGURATION)


def committed_offsets(
    lake: Lake, topic: str, topic_id: str, partitions: Iterable[int]
) -> dict[int, int]:
    """Return by partition the newest offset that the table has with all before it.

    A partition of which it has none is left out. Raises StorageError.
    """
    target = lake.table(STREAM_PATIENTS)
    if not target.exists():
        return {}
    with lake.s3.errors(target.path):
        table = target.open()
        found = {p: table.transaction_version(_transaction(topic, topic_id, p)) for p in partitions}
    return {partition: offset for partition, offset in found.items() if offset is not None}


def add(lake: Lake, rows: pa.Table, mark: Mark) -> Added:
    """Add the rows whose `change_id` is not there; one commit with the offsets of `mark`.

    `rows` has the schema of STREAM_PATIENTS and each change once. Doing it again adds nothing.
    Only files with such changes are read, so that the cost does not grow with the table. Raises
    LakeError where there is no table, CommitFailedError where another writer was faster.
    """
    target = lake.table(STREAM_PATIENTS)
    transactions = [Transaction(mark.transaction, mark.last)] if mark.advances else []
    properties = CommitProperties(custom_metadata=mark.metadata, app_transactions=transactions)
    table = target.open()
    with lake.s3.errors(target.path):
        added = _merge(table, rows, properties) if rows.num_rows else 0
        if not added and mark.advances:
            # Where nothing is new, merging makes no version: the offsets need one.
            table.create_write_transaction(
                [],
                mode="append",
                schema=table.schema(),
                partition_by=["day"],
                commit_properties=properties,
            )
            table.update_incremental()
    return Added(added, table.version())


def count_rows(lake: Lake, day: str) -> int:
    """Count the rows of a day as the table's log knows them: no file is opened."""
    target = lake.table(STREAM_PATIENTS)
    with lake.s3.errors(target.path):
        files = pa.table(target.open().get_add_actions(flatten=True))
    if not files.num_rows:
        return 0
    of_day = pc.equal(files["partition.day"], day)
    return int(pc.sum(files["num_records"].filter(of_day)).as_py() or 0)


def _merge(table: DeltaTable, rows: pa.Table, properties: CommitProperties) -> int:
    merged = (
        table.merge(
            rows,
            f"target.change_id = source.change_id AND ({_near(rows)})",
            source_alias="source",
            target_alias="target",
            streamed_exec=False,
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=properties,
        )
        .when_not_matched_insert_all()
        .execute()
    )
    return int(merged["num_target_rows_inserted"])


def _near(rows: pa.Table) -> str:
    """Return what is true of every row that may be one of `rows`, for the files' statistics.

    An image is found by its lsn, a deletion, which has none, by its offset.
    """
    deletions = pc.is_null(rows["lsn"])
    bounds = {"lsn": rows["lsn"], "kafka_offset": rows["kafka_offset"].filter(deletions)}
    terms = []
    for column, values in bounds.items():
        found = pc.min_max(values).as_py()
        if found["min"] is not None:
            terms.append(f"target.{column} BETWEEN {found['min']} AND {found['max']}")
    return " OR ".join(terms)


def _transaction(topic: str, topic_id: str, partition: int) -> str:
    return f"{topic}/{topic_id}/{partition}"
