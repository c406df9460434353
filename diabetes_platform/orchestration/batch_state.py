"""The current batch, read from the lake, and the skipping of unchanged input.

The commits of the lake's tables carry the version of the input that their rows come from. Dagster's
event log is not used, so a lost instance causes no recomputation. A commit without this metadata,
by an earlier release or by another writer, causes one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from diabetes_platform.cleaning.rejected_rows import Level, RejectedRows
from diabetes_platform.cleaning.spark_jobs import Labels, count_verdicts, only_batch_id
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    RAW_PATIENTS,
    batch_content_hash,
    batch_id_of,
)
from diabetes_platform.lake.delta import Commit, DeltaPath, Lake, annotate, commits, newest_commit
from diabetes_platform.lake.raw import current_content_hash
from diabetes_platform.modelling.training_set_snapshot import LABELS_VERSION, RAW_HASH
from diabetes_platform.orchestration.retries import non_retryable_errors
from diabetes_platform.settings import PlatformSettings

INPUT_VERSION = "input_version"
"""The key of the commit metadata with the input version of the rows."""
SOURCE_VERSION = "source_version"
"""The key of the metadata with the version of a source and of the rules that cleaned it."""
_ASSET_METADATA = "asset_metadata"
"""The key of the commit metadata with the asset's metadata as JSON."""


def input_version(*parts: object) -> str:
    """Return the SHA-256 of an asset's inputs, its code version and the contract."""
    text = "\n".join([fingerprint(), *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()


def materialize_if_changed(
    context: dg.AssetExecutionContext,
    target: DeltaPath,
    version: str,
    build: Callable[[], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Build the table unless its rows already come from the input `version`.

    `build` writes the table and returns metadata of plain values, which are kept in the commit. Its
    errors of the input are not retried.
    """
    commit = newest_commit(target)
    unchanged = commit is not None and commit.metadata.get(INPUT_VERSION) == version
    if commit is None or not unchanged:
        with non_retryable_errors():
            metadata = json.dumps(build())
        annotate(target, {INPUT_VERSION: version, _ASSET_METADATA: metadata})
        commit = require_commit(target)
    else:
        context.log.info("%s: input unchanged, not processed again", target.path)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **_asset_metadata(commit),
            "dagster/uri": target.path,
            "delta_version": commit.version,
            INPUT_VERSION: version,
            "processed": not unchanged,
        },
    )


def require_commit(target: DeltaPath) -> Commit:
    """Return the newest commit that is not maintenance; dg.Failure without any."""
    if (commit := newest_commit(target)) is None:
        raise dg.Failure(f"{target.path}: no rows yet: materialize it first", allow_retries=False)
    return commit


def _asset_metadata(commit: Commit) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(commit.metadata.get(_ASSET_METADATA, "{}"))
    return metadata


@dataclass(frozen=True, slots=True)
class BatchReference:
    """The current batch: content of `raw/patients`, and a version of `labels/patients`.

    Without labels the batch is its source: `labels_version` and `labels_hash` are None.
    """

    raw_hash: str
    labels_version: int | None = None
    labels_hash: str | None = None

    @property
    def content_hash(self) -> str:
        """The content hash of source and labels together."""
        return batch_content_hash(self.raw_hash, self.labels_hash)

    @property
    def batch_id(self) -> str:
        """The batch's name."""
        return batch_id_of(self.content_hash)

    def labels(self, lake: Lake) -> Labels | None:
        """Return the table version with the batch's labels; None for a batch without labels."""
        if self.labels_version is None or self.labels_hash is None:
            return None
        return Labels(lake.table(LABELLED_PATIENTS), self.labels_version, self.labels_hash)

    @property
    def origin(self) -> dict[str, str]:
        """The raw content and the labels version, as metadata."""
        origin = {RAW_HASH: self.raw_hash}
        if self.labels_version is not None:
            origin[LABELS_VERSION] = str(self.labels_version)
        return origin


def current_batch(lake: Lake) -> BatchReference:
    """Return the content that was ingested last, with the newest labels.

    Raises dg.Failure if nothing was ingested yet.
    """
    raw_hash = current_content_hash(lake)
    if raw_hash is None:
        path = lake.table(RAW_PATIENTS).path
        raise dg.Failure(f"{path}: no batch yet: materialize it first", allow_retries=False)
    labels = newest_commit(lake.table(LABELLED_PATIENTS))
    if labels is None or not lake.count(LABELLED_PATIENTS, {}, labels.version):
        return BatchReference(raw_hash)
    return BatchReference(raw_hash, labels.version, str(labels.metadata["content_hash"]))


@dataclass(frozen=True, slots=True)
class CleanedBatch:
    """The batch in `cleaned/patients`: its accepted rows, and the Delta commit that holds it.

    `source_version` identifies its source and the rules that cleaned it; None if the commit does
    not name it.
    """

    batch_id: str
    accepted: int
    input_version: str
    commit: Commit = field(repr=False)
    source_version: str | None = None

    @property
    def version(self) -> int:
        """The Delta version."""
        return self.commit.version

    @property
    def readable_version(self) -> int:
        """The Delta version to read the rows from, also long after maintenance."""
        return self.commit.readable_version


def cleaned_batch(lake: Lake) -> CleanedBatch:
    """Return the newest cleaned batch; its rows are counted if the commit has no metadata.

    Raises dg.Failure without any.
    """
    target = lake.table(CLEANED_PATIENTS)
    commit = require_commit(target)
    metadata = _asset_metadata(commit)
    if metadata:
        batch_id, accepted = metadata["batch_id"], metadata["accepted"]
        version = commit.metadata[INPUT_VERSION]
    else:
        batch_id = only_batch_id(target)
        accepted = count_verdicts(target).accepted
        version = f"{target.open().metadata().id}@{commit.version}"
    return CleanedBatch(batch_id, accepted, version, commit, metadata.get(SOURCE_VERSION))


def rejected_rows(lake: Lake, cleaned_version: int) -> RejectedRows:
    """Count the rows in this version of `cleaned/patients` by verdict and reason."""
    target = lake.table(CLEANED_PATIENTS)
    readable = {commit.version: commit.readable_version for commit in commits(target)}
    counts = count_verdicts(target, readable.get(cleaned_version, cleaned_version))
    return RejectedRows(counts.accepted, counts.rejected, counts.reasons, counts.duplicates)


def rejection_level(rows: RejectedRows, settings: PlatformSettings) -> Level:
    """Return the level of a batch with these rows: "error" stops it."""
    return rows.level(
        warn_above=settings.rejected_rows_warn, block_above=settings.rejected_rows_block
    )


def batch_origin(lake: Lake, batch_id: str) -> dict[str, str]:
    """Return the raw content and the labels version of a batch; empty if no commit names it."""
    target = lake.table(CLEANED_PATIENTS)
    for commit in commits(target) if target.exists() else []:
        metadata = _asset_metadata(commit)
        if metadata.get("batch_id") == batch_id:
            return {name: metadata[name] for name in (RAW_HASH, LABELS_VERSION) if name in metadata}
    return {}
