"""The images of each patient in `stream/patients`: the newest, and those that did not change."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from diabetes_platform.contract.tables import DIABETES_NEW, STREAM_PATIENTS
from diabetes_platform.contract.topics import DELETED, REPEATING_OPERATIONS
from diabetes_platform.lake.delta import Lake

ORDER = ("written_at", "kafka_offset")
"""All changes of a patient are in one partition of the topic, in the order of their offsets. The
offsets of a recreated topic start at 0 again, so the time comes first."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_COMPARED = ("change_id", "op", *ORDER, *DIABETES_NEW.column_names)


def newest_images(changes: pa.Table) -> pa.Table:
    """Return the newest row of STREAM_PATIENTS for each `id`, without deleted patients."""
    ordered = changes.sort_by([(name, "ascending") for name in ("id", *ORDER)])
    ids = ordered["id"].combine_chunks()
    if not len(ids):
        return ordered
    last = pc.not_equal(ids[:-1], ids[1:])
    last = pa.concat_arrays([last, pa.array([True])])
    newest = ordered.filter(last)
    return newest.filter(pc.not_equal(newest["op"], DELETED))


def patients_since(lake: Lake, since: datetime) -> pa.Table:
    """Return the newest images of the patients received at `since` or later.

    The result is empty if the table does not exist. Raises StorageError.
    """
    # Every change of a patient is written to the topic after the patient was received.
    newest = newest_images(lake.days_since(STREAM_PATIENTS, since))
    return newest.filter(pc.greater_equal(newest["received_at"], pa.scalar(since)))


def without_unchanged(lake: Lake, rows: pa.Table) -> pa.Table:
    """Return new rows of STREAM_PATIENTS without repeated images.

    A snapshot reads every patient again, at a new position, and an update may change nothing. Only
    for such rows are the patients' stored changes read. Raises StorageError.
    """
    may_repeat = _may_repeat(rows)
    if not pc.any(may_repeat).as_py():
        return rows
    ids = pc.unique(rows.filter(may_repeat)["id"])
    stored = lake.days_since(STREAM_PATIENTS, _EPOCH, _COMPARED, pc.field("id").isin(ids))
    compared = rows.select(_COMPARED)
    unchanged = unchanged_images(pa.concat_tables([stored.cast(compared.schema), compared]))
    return rows.filter(pc.invert(pc.is_in(rows["change_id"], value_set=unchanged)))


def unchanged_images(changes: pa.Table) -> pa.Array:
    """Return the `change_id` of each row whose patient had the same values before it."""
    ordered = changes.sort_by([(name, "ascending") for name in ("id", *ORDER)]).combine_chunks()
    previous, current = ordered.slice(0, max(0, len(ordered) - 1)), ordered.slice(1)
    unchanged = pc.and_(_may_repeat(current), pc.not_equal(previous["op"], DELETED))
    for name in DIABETES_NEW.column_names:
        both_null = pc.and_(pc.is_null(current[name]), pc.is_null(previous[name]))
        equal = pc.fill_null(pc.equal(current[name], previous[name]), fill_value=False)
        unchanged = pc.and_(unchanged, pc.or_(equal, both_null))
    return current["change_id"].filter(unchanged).combine_chunks()


def _may_repeat(changes: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(changes["op"], value_set=pa.array(REPEATING_OPERATIONS))
