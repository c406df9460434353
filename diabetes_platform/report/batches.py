"""The newest batch and what became of its rows, from what its assets reported."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from diabetes_platform.orchestration.describe import CLEANED, RAW, SERVING
from diabetes_platform.report.content import BatchReport


def newest_batch(instance: dg.DagsterInstance) -> BatchReport | None:
    """Return the batch that `raw/patients` read last; None where it never did."""
    event = instance.get_latest_materialization_event(RAW)
    if event is None:
        return None
    raw, cleaned, served = (reported(instance, key) for key in (RAW, CLEANED, SERVING))
    batch_id = str(raw["batch_id"])
    judged = cleaned if cleaned.get("batch_id") == batch_id else {}
    reasons: Mapping[str, int] = judged.get("reasons", {})
    return BatchReport(
        batch_id=batch_id,
        source=str(raw["source"]),
        received_at=datetime.fromtimestamp(event.timestamp, UTC),
        rows=int(raw["dagster/row_count"]),
        accepted=judged.get("accepted"),
        rejected=judged.get("rejected"),
        reasons=tuple(sorted(reasons.items(), key=lambda each: (-each[1], each[0]))),
        served=served.get("batch_id"),
        served_rows=served.get("dagster/row_count"),
    )


def reported(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Any]:
    """Return the metadata of an asset's newest materialization; empty where there is none."""
    event = instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    if materialization is None:
        return {}
    return {name: entry.value for name, entry in materialization.metadata.items()}
