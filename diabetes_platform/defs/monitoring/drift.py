"""Checks of drift: recent patients of the stream against the training set."""

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
    """Compare recent patients, by their newest images, with the newest training set."""
    from diabetes_platform.lake.newest_patients import patients_since
    from diabetes_platform.modelling.drift import measure_drift
    from diabetes_platform.modelling.training_set import numeric_column

    training_set = lake.table(TRAINING_SET).find()
    if training_set is None:
        yield from (_no_training_set(field.name) for field in FEATURES)
        return
    reference = training_set.to_pyarrow_table()
    recent = patients_since(lake, datetime.now(UTC) - timedelta(days=RECENT_DAYS))
    for field in FEATURES:
        values = (numeric_column(table, field.name) for table in (reference, recent))
        yield _result(measure_drift(field.name, *values))


def _no_training_set(field: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=drift_check(field),
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="There is no training set to compare with: run the batch first.",
    )


def _result(drift: "FieldDrift") -> dg.AssetCheckResult:
    from diabetes_platform.modelling.plots import plot_drift, png_markdown

    metadata: dict[str, Any] = {
        "recent_patients": drift.recent,
        "training_rows": drift.reference,
        "psi_allowed": drift.limit,
        "missing_share": drift.recent_shares[-1],
        "missing_share_in_training": drift.reference_shares[-1],
    }
    numbers = {"psi": drift.psi, "ks": drift.ks, "ks_p_value": drift.p_value}
    metadata |= {name: number for name, number in numbers.items() if number is not None}
    if drift.conclusive:
        markdown = png_markdown(plot_drift(drift), f"{drift.field} then and now")
        metadata["plot/shares"] = dg.MetadataValue.md(markdown)
    return dg.AssetCheckResult(
        check_name=drift_check(drift.field),
        passed=not drift.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=drift.text,
        metadata=metadata,
    )
