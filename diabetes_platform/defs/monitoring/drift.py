"""Checks of drift: the patients of late against those that the released model has learned from."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import drift_check
from diabetes_platform.orchestration.describe import STREAM, TRAINING_ROWS

if TYPE_CHECKING:
    from diabetes_platform.modelling.drift import FieldDrift

RECENT_DAYS = 30


@dg.multi_asset_check(
    name="drift",
    specs=[
        dg.AssetCheckSpec(
            drift_check(field.name),
            asset=STREAM,
            additional_deps=[TRAINING_ROWS],
            description=f"{field.label} of the patients of the last {RECENT_DAYS} days is "
            "distributed as in the training set (PSI, KS).",
        )
        for field in FEATURES
    ],
)
def drift_checks(lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """Compare the newest images of recent patients with the newest training set."""
    from diabetes_platform.lake.newest_patients import patients_since
    from diabetes_platform.modelling.drift import measure_drift
    from diabetes_platform.modelling.training_set import numeric_column

    learned = lake.table(TRAINING_SET).find()
    if learned is None:
        yield from (_nothing_to_compare_with(field.name) for field in FEATURES)
        return
    reference = learned.to_pyarrow_table()
    recent = patients_since(lake, datetime.now(UTC) - timedelta(days=RECENT_DAYS))
    for field in FEATURES:
        values = (numeric_column(table, field.name) for table in (reference, recent))
        yield _result(measure_drift(field.name, *values))


def _nothing_to_compare_with(field: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=drift_check(field),
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="There is no training set to compare with: run the batch first.",
    )


def _result(found: "FieldDrift") -> dg.AssetCheckResult:
    from diabetes_platform.modelling.plots import plot_drift, png_markdown

    metadata: dict[str, Any] = {
        "recent_patients": found.recent,
        "training_rows": found.reference,
        "psi_allowed": found.limit,
        "missing_share": found.recent_shares[-1],
        "missing_share_in_training": found.reference_shares[-1],
    }
    numbers = {"psi": found.psi, "ks": found.ks, "ks_p_value": found.p_value}
    metadata |= {name: number for name, number in numbers.items() if number is not None}
    if found.conclusive:
        markdown = png_markdown(plot_drift(found), f"{found.field} then and now")
        metadata["plot/shares"] = dg.MetadataValue.md(markdown)
    return dg.AssetCheckResult(
        check_name=drift_check(found.field),
        passed=not found.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=found.text,
        metadata=metadata,
    )
