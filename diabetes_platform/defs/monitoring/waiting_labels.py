"""The check of labels that wait: outcomes that were confirmed since the last batch."""

import dagster as dg

from diabetes_platform.contract.tables import LABELLED_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.describe import LABELS, STREAM
from diabetes_platform.settings import PlatformSettings


@dg.asset_check(
    asset=LABELS,
    additional_deps=[STREAM],
    description="Fewer confirmed outcomes than PLATFORM_RETRAIN_LABELS, 50 by default, are not "
    "yet in a batch. A warning asks for the next one.",
)
def few_labels_wait(
    settings: dg.ResourceParam[PlatformSettings], lake: dg.ResourceParam[Lake]
) -> dg.AssetCheckResult:
    """Count patients whose label is new, was changed or is gone."""
    from diabetes_platform.lake.labels import waiting_labels

    waiting, enough = waiting_labels(lake), settings.retrain_labels
    known = lake.table(LABELLED_PATIENTS).exists()
    since = "since the last batch" if known else "and no batch has asked for them yet"
    return dg.AssetCheckResult(
        passed=waiting < enough,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{waiting} labels are new, changed or gone {since}; a batch is asked for "
        f"at {enough}.",
        metadata={"waiting": waiting, "enough": enough},
    )
