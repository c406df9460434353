"""`diabetes training-set`: the training set of a past time, and where its rows are from."""

import os
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.contract.tables import (
    BATCH_ID,
    LABELLED_PATIENTS,
    RAW_PATIENTS,
    STREAM_PATIENTS,
    TRAINING_SET,
)
from diabetes_platform.lake.delta import Lake, LakeError, commits
from diabetes_platform.lake.labels import STREAM_VERSION
from diabetes_platform.local.errors import FailedError, LauncherError
from diabetes_platform.modelling.training_set import TrainingSetError
from diabetes_platform.modelling.training_set_snapshot import (
    LABELS_VERSION,
    RAW_HASH,
    TrainingSetSnapshot,
    read_training_set_as_of,
)


def show_training_set(lake: Lake, console: Console, at: datetime, output: Path | None) -> None:
    """Show the training set as it was `at` a time with a zone; write its rows to `output`.

    Raises FailedError where there was none or it is not as it was written, LauncherError where
    the lake cannot be read or the file not written.
    """
    try:
        found = read_training_set_as_of(lake, at)
        rows = {**_facts(found), **_labels(lake, found)}
    except (LakeError, TrainingSetError) as error:
        raise FailedError(str(error)) from error
    except StorageError as error:
        raise LauncherError(str(error)) from error
    if output is not None:
        _write(found, output)
    table = Table(title=f"{TRAINING_SET.name} at {at.isoformat()}", title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _facts(found: TrainingSetSnapshot) -> dict[str, str]:
    commit = found.commit
    return {
        "version": str(commit.version),
        "written at": commit.written_at.isoformat(),
        "content hash": found.content_hash,
        "rows": str(found.rows.num_rows),
        **{f"  of {source}": str(count) for source, count in found.sources.items()},
        "batch": str(found.rows[BATCH_ID.name][0]),
        f"{RAW_PATIENTS.name}: content hash": str(commit.metadata.get(RAW_HASH, "not told")),
    }


def _labels(lake: Lake, found: TrainingSetSnapshot) -> dict[str, str]:
    """Say by which versions of the labels and of the stream its labelled rows came."""
    told = found.commit.metadata.get(LABELS_VERSION)
    if told is None:
        return {}
    written = next(c for c in commits(lake.table(LABELLED_PATIENTS)) if c.version <= int(told))
    return {
        f"{LABELLED_PATIENTS.name}: version": told,
        f"{STREAM_PATIENTS.name}: version": str(written.metadata.get(STREAM_VERSION, "none")),
    }


def _write(found: TrainingSetSnapshot, output: Path) -> None:
    """Write the rows for their owner only: they are of patients."""
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            pq.write_table(found.rows, file)
    except OSError as error:
        raise LauncherError(f"{output}: cannot be written ({error.strerror})") from error
