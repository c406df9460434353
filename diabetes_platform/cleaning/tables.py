"""Whether a batch's name is safe in a predicate, and whether the raw table has it."""

import re

import pyarrow as pa

from diabetes_platform.lake.delta import DeltaPath

_BATCH_ID = re.compile(r"[0-9a-f]{12}")


class CleaningError(RuntimeError):
    """A batch that cleaning needs and that is not there; the message names it."""


def checked_batch_id(batch_id: str) -> str:
    """Return `batch_id`, safe to write into a predicate; ValueError for what is none."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise ValueError(f"batch id: given {batch_id!r}, allowed 12 hex digits")
    return batch_id


def require_batch(raw: DeltaPath, content_hash: str) -> None:
    """Raise CleaningError where `raw` has no rows of this content; reads the Delta log alone."""
    actions = pa.table(raw.open().get_add_actions(flatten=True))
    if content_hash not in set(actions["partition.content_hash"].to_pylist()):
        raise CleaningError(f"{raw.path}: no batch with content hash {content_hash}")
