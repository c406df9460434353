"""What the event log remembers of an asset: the batch it holds and the input it was made from."""

import hashlib
from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class Memory:
    """The metadata of the newest materialization of `key`; empty where there is none."""

    key: dg.AssetKey
    metadata: Mapping[str, dg.MetadataValue[Any]]

    def recall(self, name: str) -> Any:  # noqa: ANN401 - metadata holds text, numbers and JSON
        """Return a value; dg.Failure where it was never reported."""
        if name not in self.metadata:
            raise dg.Failure(
                f"{self.key.to_user_string()}: no materialization with {name}: "
                "materialize it first",
                allow_retries=False,
            )
        return self.metadata[name].value

    def was_made_from(self, version: str) -> bool:
        """Whether the asset was made from this very input."""
        made_from = self.metadata.get(INPUT_VERSION)
        return made_from is not None and made_from.value == version


def remember(context: Context, key: dg.AssetKey) -> Memory:
    """Read the newest materialization of `key` from the event log: once is enough for a step."""
    event = context.instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    return Memory(key, {} if materialization is None else materialization.metadata)


def current_batch(context: Context) -> BatchReference:
    """Return the batch to work on; dg.Failure where no raw batch was ever materialized."""
    raw = remember(context, RAW)
    return BatchReference(
        batch_id=str(raw.recall("batch_id")), content_hash=str(raw.recall("content_hash"))
    )


def input_version(*parts: object) -> str:
    """Digest what an asset is made from: inputs, code version and the contract."""
    text = "\n".join([fingerprint(), *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()
