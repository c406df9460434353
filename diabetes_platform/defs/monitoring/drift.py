"""Checks of drift: recent patients of the stream against the training set."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import patients_since
from diabetes_platform.modelling.drift import FieldDrift, measure_drift
from diabetes_platform.modelling.plots import plot_drift, png_markdown
from diabetes_platform.modelling.training_set import numeric_column
from diabetes_platform.orchestration.automation import drift_check
from diabetes_platform.orchestration.check_results import inconclusive, without_none
from diabetes_platform.orchestration.describe import MONITORING, STREAM, TRAINING_ROWS

RECENT_DAYS = 30


@dg.multi_asset_check(
    name="drift",
    specs=[
        dg.AssetCheckSpec(
            drift_check(field.name),
            asset=MONITORING,
            additional_deps=[STREAM, TRAINING_ROWS],
            description=f"{field.label} of the patients of the last {RECENT_DAYS} days is "
            "distributed as in the training set (PSI, KS).",
        )
        for field in FEATURES
    ],
)
def drift_checks(lake: dg.ResourceParam[Lake]) -> Iterator[dg.AssetCheckResult]:
    """Compare recent patients, by their newest images, with the newest training set."""
    training_set = lake.table(TRAINING_SET).find()
    if training_set is None:
        reason = "There is no training set to compare with: run the batch first."
        yield from (inconclusive(reason, drift_check(field.name)) for field in FEATURES)
        return
    reference = training_set.to_pyarrow_table()
    recent = patients_since(lake, datetime.now(UTC) - timedelta(days=RECENT_DAYS))
    for field in FEATURES:
        values = (numeric_column(table, field.name) for table in (reference, recent))
        yield _result(measure_drift(field.name, *values))


def _result(drift: FieldDrift) -> dg.AssetCheckResult:
    plot = {}
    if drift.conclusive:
        markdown = png_markdown(plot_drift(drift), f"{drift.field} then and now")
        plot["plot/shares"] = dg.MetadataValue.md(markdown)
    return dg.AssetCheckResult(
        check_name=drift_check(drift.field),
        passed=not drift.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=drift.text,
        metadata={
            "recent_patients": drift.recent,
            "training_rows": drift.reference,
            "psi_allowed": drift.limit,
            "missing_share": drift.recent_shares[-1],
            "missing_share_in_training": drift.reference_shares[-1],
            **without_none(psi=drift.psi, ks=drift.ks, ks_p_value=drift.p_value),
            **plot,
        },
    )
