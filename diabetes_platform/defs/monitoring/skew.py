"""Checks of training-serving skew: features and risks of the same patient on every path."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from diabetes_platform.cleaning.skew import count_skewed_rows, parse_with_spark
from diabetes_platform.contract.fields import FIELD_NAMES
from diabetes_platform.contract.validation import reasons_to_reject
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import patients_since
from diabetes_platform.modelling.classifier import PROBABILITY_TOLERANCE, predict_proba
from diabetes_platform.modelling.training_set import feature_matrix
from diabetes_platform.orchestration.check_results import counts_markdown, no_champion
from diabetes_platform.orchestration.describe import CHAMPION, MONITORING, STREAM
from diabetes_platform.orchestration.resources import Models, Spark, Warehouse
from diabetes_platform.warehouse.predictions import read_predictions

MOST_PATIENTS = 500
RECENT = timedelta(days=30)


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[STREAM],
    description="Spark's cleaning rules, the contract's validator and Flink read the same values "
    f"of the newest {MOST_PATIENTS} patients of the last 30 days, and none rejects a patient.",
)
def same_features(
    lake: dg.ResourceParam[Lake], spark: dg.ResourceParam[Spark]
) -> dg.AssetCheckResult:
    """Parse patients of the stream with the cleaning rules and with the contract's validator."""
    newest = _newest(lake)
    rows = newest.num_rows
    columns: dict[str, Any] = {name: newest[name].to_pylist() for name in FIELD_NAMES}
    by_spark: dict[str, int] = {}
    if rows:
        with spark.session(None) as session:
            by_spark = count_skewed_rows(columns, parse_with_spark(session, columns))
    patients = newest.select(FIELD_NAMES).to_pylist()
    by_contract = sum(bool(reasons_to_reject(patient)) for patient in patients)
    differ = sum(by_spark.values()) + by_contract
    result = f"{differ} values or patients differ" if differ else "no value differs"
    return dg.AssetCheckResult(
        passed=not differ,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{rows} patients of the stream through Spark and the contract: {result}."
        if rows
        else "No patient of the stream in 30 days: nothing to compare.",
        metadata={
            "patients": rows,
            "judged": rows > 0,
            "differing_by_field": counts_markdown(by_spark, "field", "patients", len(FIELD_NAMES)),
            "refused_by_contract": by_contract,
        },
    )


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[CHAMPION, STREAM],
    description=f"For the newest {MOST_PATIENTS} patients of the last 30 days in the lake, the "
    "champion predicts the probability that the predictor stored for the same change.",
)
def same_predictions(
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Score the rows of the lake and compare the results with the stored predictions."""
    current = models.store().current_version()
    if current is None:
        return no_champion()
    newest, version = _newest(lake), current.bundle.model_version
    ids = newest["id"].to_pylist()
    stored = read_predictions(warehouse.reader_url, version, ids)
    changes = zip(ids, newest["lsn"].to_pylist(), strict=True)
    probabilities = predict_proba(current.model, feature_matrix(newest)).tolist()
    differences = [
        abs(computed - stored[change])
        for change, computed in zip(changes, probabilities, strict=True)
        if change in stored
    ]
    largest = max(differences, default=0.0)
    differ = sum(difference > PROBABILITY_TOLERANCE for difference in differences)
    result = f"{differ} differ, by {largest:.3g} at most" if differ else "none differs"
    return dg.AssetCheckResult(
        passed=not differ,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(differences)} stored predictions of model {version}, computed again "
        f"from the lake: {result}."
        if differences
        else "No prediction of the champion for a patient of 30 days: nothing to compare.",
        metadata={
            "patients": len(ids),
            "answers_compared": len(differences),
            "judged": bool(differences),
            "differing": differ,
            "largest_difference": largest,
            "difference_allowed": PROBABILITY_TOLERANCE,
            "model_version": version,
            "feature_order": ", ".join(current.bundle.features),
        },
    )


def _newest(lake: Lake) -> pa.Table:
    patients = patients_since(lake, datetime.now(UTC) - RECENT)
    return patients.sort_by([("written_at", "descending")]).slice(0, MOST_PATIENTS)
