"""Checks of training-serving skew: features and risks of the same patient on every path."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.check_results import counts_markdown, no_champion
from diabetes_platform.orchestration.describe import CHAMPION, STREAM
from diabetes_platform.orchestration.resources import Models, Spark, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from diabetes_platform.contract.bundle import Bundle

MOST_PATIENTS = 500
RECENT = timedelta(days=30)


@dg.asset_check(
    asset=STREAM,
    description="Spark's cleaning rules, the contract's validator and Flink read the same values "
    f"of the newest {MOST_PATIENTS} patients of the last 30 days, and none rejects a patient.",
)
def same_features(
    lake: dg.ResourceParam[Lake], spark: dg.ResourceParam[Spark]
) -> dg.AssetCheckResult:
    """Parse patients of the stream with the cleaning rules and with the contract's validator."""
    from diabetes_platform.cleaning.skew import count_skewed_rows, parse_with_spark
    from diabetes_platform.contract.validation import reasons_to_reject

    columns = _columns(_newest(lake))
    rows = len(columns[FEATURE_NAMES[0]])
    by_spark: dict[str, int] = {}
    if rows:
        with spark.session() as session:
            by_spark = count_skewed_rows(columns, parse_with_spark(session, columns))
    patients = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
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
    asset=STREAM,
    additional_deps=[CHAMPION],
    description=f"For the newest {MOST_PATIENTS} patients of the last 30 days in the lake, the "
    "champion predicts the probability that the predictor stored for the same change.",
)
def same_predictions(
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Score the rows of the lake and compare the results with the stored predictions."""
    from diabetes_platform.modelling.classifier import feature_matrix, predict_proba
    from diabetes_platform.warehouse.predictions import read_predictions

    store = models.store()
    current = store.champion()
    if current is None:
        return no_champion()
    model = store.read(current.champion)
    newest = _newest(lake)
    ids = newest["id"].to_pylist()
    stored = read_predictions(warehouse.reader_url, model.bundle.model_version, ids)
    probabilities = predict_proba(model, feature_matrix(newest)).tolist()
    changes = zip(ids, newest["lsn"].to_pylist(), strict=True)
    pairs = [
        (computed, stored[change])
        for change, computed in zip(changes, probabilities, strict=True)
        if change in stored
    ]
    return _comparison(model.bundle, len(ids), pairs)


def _comparison(
    bundle: "Bundle", patients: int, pairs: Sequence[tuple[float, float]]
) -> dg.AssetCheckResult:
    """Return the check result for pairs of computed and stored probabilities."""
    from diabetes_platform.modelling.classifier import PROBABILITY_TOLERANCE

    largest = max((abs(computed - stored) for computed, stored in pairs), default=0.0)
    differ = sum(abs(computed - stored) > PROBABILITY_TOLERANCE for computed, stored in pairs)
    result = f"{differ} differ, by {largest:.3g} at most" if differ else "none differs"
    return dg.AssetCheckResult(
        passed=not differ,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(pairs)} stored predictions of model {bundle.model_version}, computed "
        f"again from the lake: {result}."
        if pairs
        else "No prediction of the champion for a patient of 30 days: nothing to compare.",
        metadata={
            "patients": patients,
            "answers_compared": len(pairs),
            "judged": bool(pairs),
            "differing": differ,
            "largest_difference": largest,
            "difference_allowed": PROBABILITY_TOLERANCE,
            "model_version": bundle.model_version,
            "feature_order": ", ".join(bundle.features),
        },
    )


def _newest(lake: Lake) -> "pa.Table":
    from diabetes_platform.lake.newest_patients import patients_since

    patients = patients_since(lake, datetime.now(UTC) - RECENT)
    return patients.sort_by([("written_at", "descending")]).slice(0, MOST_PATIENTS)


def _columns(table: "pa.Table") -> Mapping[str, Sequence[float | None]]:
    columns: dict[str, Any] = {name: table[name].to_pylist() for name in FIELD_NAMES}
    return columns
