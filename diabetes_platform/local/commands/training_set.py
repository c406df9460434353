"""`diabetes training-set`: the training set as of a time, with the sources of its rows."""

import os
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.contract.tables import (
    BATCH_ID,
    LABELLED_PATIENTS,
    RAW_PATIENTS,
    STREAM_PATIENTS,
    TRAINING_SET,
)
from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.lake.delta import Lake, LakeError, commits
from diabetes_platform.lake.labels import STREAM_VERSION
from diabetes_platform.local.console import facts_table
from diabetes_platform.local.dagster.environment import enter_stack
from diabetes_platform.local.stack import running_stack
from diabetes_platform.modelling.training_set import TrainingSetError
from diabetes_platform.modelling.training_set_snapshot import (
    LABELS_VERSION,
    RAW_HASH,
    TrainingSetSnapshot,
    read_training_set_as_of,
)
from diabetes_platform.settings import PlatformSettings


def training_set(
    settings: PlatformSettings, console: Console, *, at: datetime, output: Path | None
) -> None:
    """Show the training set as of `at`, in the lake of the running platform or of the demo."""
    stack = running_stack(settings)
    if stack is not None:
        enter_stack(stack)
        settings = PlatformSettings()
    show_training_set(Lake(settings.lake, settings.s3), console, at, output)


def show_training_set(lake: Lake, console: Console, at: datetime, output: Path | None) -> None:
    """Show the training set as of `at`, a timestamp with time zone; write its rows to `output`.

    Raises FailedError if there was no training set or its rows do not match the recorded hash, and
    PlatformError if the lake cannot be read or the file cannot be written.
    """
    try:
        snapshot = read_training_set_as_of(lake, at)
        rows = {**_facts(snapshot), **_labels(lake, snapshot)}
    except (LakeError, TrainingSetError) as error:
        raise FailedError(str(error)) from error
    except StorageError as error:
        raise PlatformError(str(error)) from error
    if output is not None:
        _write(snapshot, output)
    title = f"{TRAINING_SET.name} at {at.isoformat()}"
    console.print(facts_table(rows.items(), title, ("what", "value")))


def _facts(snapshot: TrainingSetSnapshot) -> dict[str, str]:
    commit = snapshot.commit
    return {
        "version": str(commit.version),
        "written at": commit.written_at.isoformat(),
        "content hash": snapshot.content_hash,
        "rows": str(snapshot.rows.num_rows),
        **{f"  of {source}": str(count) for source, count in snapshot.sources.items()},
        "batch": str(snapshot.rows[BATCH_ID.name][0]),
        f"{RAW_PATIENTS.name}: content hash": str(commit.metadata.get(RAW_HASH, "not recorded")),
    }


def _labels(lake: Lake, snapshot: TrainingSetSnapshot) -> dict[str, str]:
    """Return the versions of the labels and of the stream that its labelled rows come from."""
    version = snapshot.commit.metadata.get(LABELS_VERSION)
    if version is None:
        return {}
    labels = next(c for c in commits(lake.table(LABELLED_PATIENTS)) if c.version <= int(version))
    return {
        f"{LABELLED_PATIENTS.name}: version": version,
        f"{STREAM_PATIENTS.name}: version": str(labels.metadata.get(STREAM_VERSION, "none")),
    }


def _write(snapshot: TrainingSetSnapshot, output: Path) -> None:
    """Write the rows, readable by their owner only: they are patient data."""
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            pq.write_table(snapshot.rows, file)
    except OSError as error:
        raise PlatformError(f"{output}: cannot be written ({error.strerror})") from error
