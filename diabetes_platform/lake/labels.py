"""`labels/patients`: confirmed outcomes that came by the stream, the newest image of each patient.

A label is the `outcome` of an image of the intake row, and nothing else is one: what a model said
of a patient is in no column of the stream.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from diabetes_platform.contract.fields import FIELD_NAMES, OUTCOME
from diabetes_platform.contract.tables import LABELLED_PATIENTS, STREAM_PATIENTS
from diabetes_platform.lake.arrow import content_hash_of, row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import ORDER, newest_images

LABELS_SCHEMA = row_schema(LABELLED_PATIENTS)
STREAM_VERSION = "stream_version"
"""What the commit tells: the version of `stream/patients` that was read."""
_CHANGE_ID = "change_id"
_READ = [*LABELLED_PATIENTS.column_names, "op", *ORDER]


@dataclass(frozen=True, slots=True)
class KeptLabels:
    """The newest version of `labels/patients`: `added` is False where its labels were there.

    `stream_version` is the version of `stream/patients` that was read, None where there is none.
    """

    rows: int
    content_hash: str
    version: int
    stream_version: int | None
    added: bool


def keep_labels(lake: Lake) -> KeptLabels:
    """Make the newest version of `labels/patients` what the stream says now.

    The same labels add no version, also where a snapshot has brought each change again: the
    change by which a label came first stays. Raises StorageError.
    """
    stream = lake.table(STREAM_PATIENTS)
    table = stream.find()
    with lake.s3.errors(stream.path):
        labels = labels_of(table)
    content_hash = content_hash_of(labels.drop_columns([_CHANGE_ID]), LABELLED_PATIENTS.key[0])
    told = {} if table is None else {STREAM_VERSION: str(table.version())}
    version, added = lake.snapshot(LABELLED_PATIENTS, labels, content_hash, told)
    return KeptLabels(
        rows=labels.num_rows,
        content_hash=content_hash,
        version=version,
        stream_version=None if table is None else table.version(),
        added=added,
    )


def waiting_labels(lake: Lake) -> int:
    """Count the patients whose label is new, another or gone since labels were last kept.

    Raises StorageError.
    """
    stream, kept = lake.table(STREAM_PATIENTS), lake.table(LABELLED_PATIENTS)
    with lake.s3.errors(stream.path):
        now, before = labels_of(stream.find()), kept.find()
        then = LABELS_SCHEMA.empty_table() if before is None else before.to_pyarrow_table()
    return len({row[0] for row in _contents(now) ^ _contents(then)})


def _contents(labels: pa.Table) -> set[tuple[object, ...]]:
    """Return the rows, id first, without the change that brought them."""
    names = [name for name in LABELLED_PATIENTS.column_names if name != _CHANGE_ID]
    return set(zip(*(labels[name].to_pylist() for name in names), strict=True))


def labels_of(stream: DeltaTable | None) -> pa.Table:
    """Return the labels (contract LABELLED_PATIENTS) of a version of `stream/patients`, by id.

    An outcome that was changed counts as it is now; one that was taken back, or whose patient
    was deleted, is none. Of no table there is none. Memory holds the changes of patients who ever
    had an outcome.
    """
    if stream is None:
        return LABELS_SCHEMA.empty_table()
    dataset = stream.to_pyarrow_dataset()
    has_outcome = pc.field(OUTCOME.name).is_valid()
    ids = dataset.to_table(columns=["id"], filter=has_outcome)["id"].unique()
    changes = dataset.to_table(columns=_READ, filter=pc.field("id").isin(ids))
    newest = newest_images(changes).filter(has_outcome)
    columns = {
        name: newest[name].cast(pa.string()) if name in FIELD_NAMES else newest[name]
        for name in LABELLED_PATIENTS.column_names
    }
    return pa.table(columns).cast(LABELS_SCHEMA)
