"""The check of outcomes that were confirmed since the last batch."""

import dagster as dg

from diabetes_platform.contract.tables import LABELLED_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import waiting_labels
from diabetes_platform.orchestration.describe import LABELS, MONITORING, STREAM
from diabetes_platform.settings import PlatformSettings


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[LABELS, STREAM],
    description="Fewer confirmed outcomes than PLATFORM_RETRAIN_LABELS, 50 by default, wait for a "
    "batch. A warning requests the next batch.",
)
def few_labels_wait(
    settings: dg.ResourceParam[PlatformSettings], lake: dg.ResourceParam[Lake]
) -> dg.AssetCheckResult:
    """Count patients whose label is new, changed or deleted."""
    waiting, enough = waiting_labels(lake), settings.retrain_labels
    has_labels = lake.table(LABELLED_PATIENTS).exists()
    since = "since the last batch" if has_labels else "and no batch has read them yet"
    return dg.AssetCheckResult(
        passed=waiting < enough,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{waiting} labels are new, changed or deleted {since}; a batch is requested "
        f"at {enough}.",
        metadata={"waiting": waiting, "enough": enough},
    )
