"""What the event log remembers of an asset: the batch it holds and the input it was made from."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from diabetes_platform.cleaning.batch_tables import Labels
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.tables import LABELLED_PATIENTS, batch_content_hash, batch_id_of
from diabetes_platform.lake.delta import DeltaPath, Lake
from diabetes_platform.modelling.training_set_snapshot import LABELS_VERSION, RAW_HASH
from diabetes_platform.orchestration.describe import CLEANED, LABELS, RAW

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
INPUT_VERSION = "input_version"
_PAGE = 100
"""So many materializations are read at once."""
DATA_VERSION_TAG = "dagster/data_version"
"""How an event outside a step says its data version; Dagster has no public name for it."""


@dataclass(frozen=True, slots=True)
class BatchReference:
    """What the newest materializations of `raw/patients` and `labels/patients` brought.

    Without labels the batch is its source: `labels_version` and `labels_hash` are None.
    """

    raw_hash: str
    labels_version: int | None = None
    labels_hash: str | None = None

    @property
    def content_hash(self) -> str:
        """The content hash of the whole batch."""
        return batch_content_hash(self.raw_hash, self.labels_hash)

    @property
    def batch_id(self) -> str:
        """The batch's name."""
        return batch_id_of(self.content_hash)

    def labels(self, lake: Lake) -> Labels | None:
        """Return where its labels are, None where it has none."""
        if self.labels_version is None or self.labels_hash is None:
            return None
        return Labels(lake.table(LABELLED_PATIENTS), self.labels_version, self.labels_hash)

    @property
    def origin(self) -> dict[str, str]:
        """What is told of a batch beside its name: where each of its rows can be found."""
        origin = {RAW_HASH: self.raw_hash}
        if self.labels_version is not None:
            origin[LABELS_VERSION] = str(self.labels_version)
        return origin


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
    raw_hash = str(remember(context, RAW).recall("content_hash"))
    labels = remember(context, LABELS)
    # A platform that was there before labels were has never asked for them.
    if not labels.metadata or not labels.recall("dagster/row_count"):
        return BatchReference(raw_hash)
    return BatchReference(
        raw_hash, int(labels.recall("delta_version")), str(labels.recall("content_hash"))
    )


def materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey
) -> Iterator[dg.AssetMaterialization]:
    """Yield all that the event log remembers of an asset, the newest first."""
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        yield from filter(None, (record.asset_materialization for record in page.records))
        if not page.has_more:
            return
        cursor = page.cursor


def origin_of(context: Context, batch_id: str) -> dict[str, str]:
    """Return what was told of a batch when it was cleaned; empty where nobody remembers it."""
    for made in materializations(context.instance, CLEANED):
        said = {name: value.value for name, value in made.metadata.items()}
        if said.get("batch_id") == batch_id:
            return {name: str(said[name]) for name in (RAW_HASH, LABELS_VERSION) if name in said}
    return {}


def input_version(*parts: object) -> str:
    """Digest what an asset is made from: inputs, code version and the contract."""
    text = "\n".join([fingerprint(), *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()


def unchanged(before: Memory, table: DeltaPath, version: str) -> bool:
    """Whether the table holds what the event log says it was made from."""
    if not (before.was_made_from(version) and table.exists()):
        return False
    made = int(before.recall("delta_version"))
    # Looking past maintenance reads the table's log: only where the version has moved.
    return table.version() == made or table.version_of_rows() == made


def again(
    context: dg.AssetExecutionContext, before: Memory, data_version: str
) -> dg.MaterializeResult:
    """Report an asset whose input has not changed: nothing was computed."""
    context.log.info("%s: input unchanged, not processed again", before.key.to_user_string())
    return dg.MaterializeResult(
        data_version=dg.DataVersion(data_version),
        metadata={**before.metadata, "processed": False},
    )
