"""`labels/patients`: confirmed outcomes from the stream, the newest image of each patient.

A label is the `outcome` of an image of the intake row. Predictions are in no column of the stream
and can never become labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from diabetes_platform.contract.fields import FIELD_NAMES, OUTCOME
from diabetes_platform.contract.tables import LABELLED_PATIENTS, STREAM_PATIENTS
from diabetes_platform.lake.arrow import content_hash_of, row_schema
from diabetes_platform.lake.delta import Lake, annotate, commits, projection
from diabetes_platform.lake.newest_patients import ORDER, newest_images

LABELS_SCHEMA = row_schema(LABELLED_PATIENTS)
STREAM_VERSION = "stream_version"
"""Commit metadata: the version of `stream/patients` that was read."""
_CHANGE_ID = "change_id"
_STREAM_COLUMNS = (*LABELLED_PATIENTS.column_names, "op", *ORDER)


@dataclass(frozen=True, slots=True)
class LabelsUpdate:
    """The newest version of `labels/patients`; `added` is False if its labels did not change.

    `stream_version` is the version of `stream/patients` that was read, None without that table.
    """

    rows: int
    content_hash: str
    version: int
    stream_version: int | None
    added: bool


def update_labels(lake: Lake, commit_metadata: Mapping[str, str] | None = None) -> LabelsUpdate:
    """Write the current labels of the stream as the newest version of `labels/patients`.

    Unchanged labels add no version, even if a snapshot repeated every change: a label keeps its
    first change id. `commit_metadata` is written to the commit of the added version, or to a commit
    without rows. Raises StorageError.
    """
    stream = lake.table(STREAM_PATIENTS)
    table = stream.find()
    with lake.s3.errors(stream.path):
        labels = labels_of(table)
    content_hash = content_hash_of(labels.drop_columns([_CHANGE_ID]), LABELLED_PATIENTS.key[0])
    metadata = dict(commit_metadata or {})
    if table is not None:
        metadata[STREAM_VERSION] = str(table.version())
    version, added = lake.snapshot(LABELLED_PATIENTS, labels, content_hash, metadata)
    if commit_metadata and not added:
        target = lake.table(LABELLED_PATIENTS)
        version = annotate(target, {"content_hash": content_hash, **metadata})
    return LabelsUpdate(
        rows=labels.num_rows,
        content_hash=content_hash,
        version=version,
        stream_version=None if table is None else table.version(),
        added=added,
    )


def stored_labels(lake: Lake) -> LabelsUpdate:
    """Return the stored newest version of `labels/patients`.

    Raises LakeError if there is no table, and StorageError.
    """
    commit = commits(lake.table(LABELLED_PATIENTS))[0]
    stream_version = commit.metadata.get(STREAM_VERSION)
    return LabelsUpdate(
        rows=lake.count(LABELLED_PATIENTS, {}, commit.version),
        content_hash=str(commit.metadata["content_hash"]),
        version=commit.version,
        stream_version=None if stream_version is None else int(stream_version),
        added=False,
    )


def waiting_labels(lake: Lake) -> int:
    """Count the patients whose label was added, changed or removed since `update_labels`.

    Raises StorageError.
    """
    stream = lake.table(STREAM_PATIENTS)
    with lake.s3.errors(stream.path):
        current, stored = labels_of(stream.find()), LABELS_SCHEMA.empty_table()
        if lake.table(LABELLED_PATIENTS).exists():
            names = LABELLED_PATIENTS.column_names
            stored = lake.stream(LABELLED_PATIENTS, names, {}).read_all()
    return len({row[0] for row in _contents(current) ^ _contents(stored)})


def _contents(labels: pa.Table) -> set[tuple[object, ...]]:
    """Return the rows as tuples with the id first and without the change id."""
    names = [name for name in LABELLED_PATIENTS.column_names if name != _CHANGE_ID]
    return set(zip(*(labels[name].to_pylist() for name in names), strict=True))


def labels_of(stream: DeltaTable | None) -> pa.Table:
    """Return the labels (contract LABELLED_PATIENTS) of a version of `stream/patients`, by id.

    A changed outcome counts with its newest value; a withdrawn outcome or a deleted patient has no
    label. Without a table there are no labels. Memory holds the changes of all patients who ever
    had an outcome.
    """
    if stream is None:
        return LABELS_SCHEMA.empty_table()
    dataset = stream.to_pyarrow_dataset()
    has_outcome = pc.field(OUTCOME.name).is_valid()
    ids = dataset.to_table(columns=["id"], filter=has_outcome)["id"].unique()
    columns = projection(dataset, STREAM_PATIENTS, _STREAM_COLUMNS)
    changes = dataset.to_table(columns=columns, filter=pc.field("id").isin(ids))
    newest = newest_images(changes).filter(has_outcome)
    labels = {
        name: newest[name].cast(pa.string()) if name in FIELD_NAMES else newest[name]
        for name in LABELLED_PATIENTS.column_names
    }
    return pa.table(labels).cast(LABELS_SCHEMA)
