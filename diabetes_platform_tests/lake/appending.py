"""Rows of the stream's tables, appended as an ingest run does."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from diabetes_platform.contract.tables import Table
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import IncrementalTable, OffsetCommit, OffsetRange


def append_rows(lake: Lake, contract: Table, rows: Iterable[Mapping[str, object]]) -> int:
    """Append rows of one day, topic and partition; return the number of added rows.

    Their columns name the day, topic, partition and offsets.
    """
    target = IncrementalTable.open_or_create(lake, contract)
    table = pa.Table.from_pylist(list(rows), schema=row_schema(contract))
    if not table.num_rows:
        return 0
    offsets = table["kafka_offset"].to_pylist()
    topic_id, day, partition = (
        table[name][0].as_py() for name in ("topic_id", "day", "kafka_partition")
    )
    ranges = (OffsetRange(partition, min(offsets), max(offsets)),)
    commit = OffsetCommit("topic", topic_id, day, ranges)
    return target.append(table, commit)
