"""What the event log remembers of an asset: the batch it holds and the input it was made from."""

import hashlib
from dataclasses import dataclass
from typing import Any

import dagster as dg

from diabetes_platform.contract.fingerprint import fingerprint
from diabetes_platform.defs.describe import RAW

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
INPUT_VERSION = "input_version"


@dataclass(frozen=True, slots=True)
class BatchReference:
    """The batch that the newest materialization of `raw/patients` brought."""

    batch_id: str
    content_hash: str


def current_batch(context: Context) -> BatchReference:
    """Return the batch to work on; dg.Failure where no raw batch was ever materialized."""
    return BatchReference(
        batch_id=str(recall(context, RAW, "batch_id")),
        content_hash=str(recall(context, RAW, "content_hash")),
    )


def recall(context: Context, key: dg.AssetKey, name: str) -> Any:  # noqa: ANN401 — metadata holds text, numbers and JSON
    """Return a metadata value of the newest materialization of `key`; dg.Failure if none."""
    known = remembered(context, key)
    if name not in known:
        raise dg.Failure(
            f"{key.to_user_string()}: no materialization with {name}: materialize it first",
            allow_retries=False,
        )
    return known[name].value


def input_version(*parts: object) -> str:
    """Digest what an asset is made from: inputs, code version and the contract."""
    text = "\n".join([fingerprint(), *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()


def is_unchanged(context: Context, key: dg.AssetKey, version: str) -> bool:
    """Whether the newest materialization of `key` was made from the same input."""
    known = remembered(context, key)
    return INPUT_VERSION in known and known[INPUT_VERSION].value == version


def remembered(context: Context, key: dg.AssetKey) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata of the newest materialization of `key`; empty where there is none."""
    event = context.instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    return {} if materialization is None else dict(materialization.metadata)
