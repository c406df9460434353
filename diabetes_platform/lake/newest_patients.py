"""The newest image of each patient in `stream/patients`."""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from diabetes_platform.contract.tables import STREAM_PATIENTS
from diabetes_platform.contract.topics import DELETED
from diabetes_platform.lake.delta import Lake

ORDER = ("written_at", "kafka_offset")
"""All changes of a patient are in one partition of the topic, in the order of their offsets. The
offsets of a recreated topic start at 0 again, so the time comes first."""


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
