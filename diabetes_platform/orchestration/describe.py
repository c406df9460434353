"""Asset keys, groups and pools, and the options and metadata that all assets share."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from diabetes_platform.contract.tables import Column, Table

DATA_VERSION_TAG = "dagster/data_version"
"""The tag of a data version on an event outside a step; Dagster has no public name for it."""
GRAPH_TAG = "platform/graph"
"""The tag of a job and of its runs: `batch`, `stream`, `monitoring`, …"""
OWNER = "team:clinical-data"
DAILY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=36), warn_window=timedelta(hours=26)
)
"""Warns two hours after a missed daily run, fails twelve hours after it."""

RAW = dg.AssetKey(["raw", "patients"])
STATISTICS = dg.AssetKey(["statistics", "patients"])
CLEANED = dg.AssetKey(["cleaned", "patients"])
QUARANTINE = dg.AssetKey(["quarantine", "patients"])
STAGING = dg.AssetKey(["staging", "patients"])
SERVING = dg.AssetKey(["serving", "patients"])
TRAINING_ROWS = dg.AssetKey(["features", "training_set"])
CANDIDATE = dg.AssetKey(["model", "candidate"])
SHADOW = dg.AssetKey(["model", "shadow"])
CHAMPION = dg.AssetKey(["model", "champion"])
STREAM = dg.AssetKey(["stream", "patients"])
LABELS = dg.AssetKey(["labels", "patients"])
REJECTED = dg.AssetKey(["stream", "rejected"])
WINDOWS = dg.AssetKey(["stream", "windows"])
SKIPPED = "training_skipped"
"""The metadata key of an observation of the training set: why a run did not train on the rows."""
MONITORING = dg.AssetKey(["monitoring", "live"])
"""Has the checks of stream and model on live patients, and no materialization: Dagster shows a
check as not evaluated once its asset was materialized after it, and increments come all the time.
"""

_ORDER = (
    "kafka",
    "stream",
    "labels",
    "raw",
    "statistics",
    "cleaned",
    "quarantine",
    "staging",
    "serving",
    "features",
    "model",
    "monitoring",
)
GROUPS: Mapping[str, str] = {name: f"{n:02}_{name}" for n, name in enumerate(_ORDER, start=1)}
"""Group names by the first part of the asset key, numbered in the order of the data."""

CLEANING_POOL = "cleaning"
"""From raw to quarantine: all of them work on one batch."""
STAGING_POOL = "staging"
"""Staging holds one batch from its load to its promotion."""
TRAINING_POOL = "training"
"""A candidate is evaluated against the champion that its release replaces."""
STREAM_POOL = "stream"
"""Increments are added in the order of their offsets."""
REJECTED_POOL = "stream_rejected"
WINDOWS_POOL = "stream_windows"


def asset_options(
    key: dg.AssetKey, kinds: set[str], pool: str, code_version: str = "1"
) -> dict[str, Any]:
    """Return the keyword arguments that the assets share."""
    return {
        "key": key,
        "group_name": GROUPS[key.path[0]],
        "kinds": kinds,
        "pool": pool,
        "owners": [OWNER],
        "code_version": code_version,
        "freshness_policy": DAILY,
    }


def topic_key(topic: str) -> dg.AssetKey:
    """Return the key of a topic's asset."""
    return dg.AssetKey(["kafka", topic])


def table_metadata(
    table: Table, upstream: Mapping[dg.AssetKey, Table] | None = None
) -> dict[str, Any]:
    """Return the contract's columns as Dagster column schema and, by name, column lineage."""
    metadata: dict[str, Any] = {
        "dagster/table_name": table.name,
        "dagster/column_schema": dg.TableSchema(columns=[_column(c) for c in table.columns]),
    }
    if upstream:
        lineage = _lineage(table, upstream)
        metadata["dagster/column_lineage"] = lineage
        # Dagster's open-source UI draws no lineage of columns.
        metadata["columns_come_from"] = dg.MetadataValue.md(_as_markdown(lineage))
    return metadata


def _column(column: Column) -> dg.TableColumn:
    return dg.TableColumn(
        column.name,
        column.type,
        column.description,
        constraints=dg.TableColumnConstraints(nullable=column.nullable),
    )


def _lineage(table: Table, upstream: Mapping[dg.AssetKey, Table]) -> dg.TableColumnLineage:
    sources = {
        column.name: [
            dg.TableColumnDep(asset_key=key, column_name=name)
            for key, source in upstream.items()
            for name in source.column_names
            if name == _measurement(column.name)
        ]
        for column in table.columns
    }
    return dg.TableColumnLineage({name: deps for name, deps in sources.items() if deps})


def _as_markdown(lineage: dg.TableColumnLineage) -> str:
    rows = [
        f"| {name} | {', '.join(f'{d.asset_key.to_user_string()}.{d.column_name}' for d in deps)} |"
        for name, deps in lineage.deps_by_column.items()
    ]
    return "\n".join(["| column | comes from |", "|---|---|", *rows])


def _measurement(name: str) -> str:
    """Return the measurement that a derived column (`bmi_normed`) comes from."""
    return name.removesuffix("_normed").removesuffix("_filled").removesuffix("_received")
