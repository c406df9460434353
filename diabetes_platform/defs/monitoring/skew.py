"""Checks of skew: the same patient has the same features and the same risk, whoever reads it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.contract.fields import FEATURE_NAMES, FIELD_NAMES
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.describe import CHAMPION, STREAM
from diabetes_platform.orchestration.figures import counts_markdown
from diabetes_platform.orchestration.resources import Models, Spark, Warehouse
from diabetes_platform.orchestration.unjudged import no_champion

if TYPE_CHECKING:
    import pyarrow as pa

    from diabetes_platform.contract.bundle import Bundle

MOST_PATIENTS = 500
RECENT = timedelta(days=30)


@dg.asset_check(
    asset=STREAM,
    description=f"Of the newest {MOST_PATIENTS} patients of 30 days Spark's cleaning rules, the "
    "contract's validator and Flink read the same values, and none refuses one.",
)
def same_features(
    lake: dg.ResourceParam[Lake], spark: dg.ResourceParam[Spark]
) -> dg.AssetCheckResult:
    """Give what Flink let through to the rules of a batch, and to the contract's own."""
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
    said = f"{differ} values or patients are read otherwise" if differ else "no value differs"
    return dg.AssetCheckResult(
        passed=not differ,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{rows} patients of the stream through Spark and the contract: {said}."
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
    description=f"The champion, asked again of the newest {MOST_PATIENTS} patients of 30 days as "
    "the lake has them, answers what the predictor has stored of the same change.",
)
def same_predictions(
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
    warehouse: dg.ResourceParam[Warehouse],
) -> dg.AssetCheckResult:
    """Score the lake's rows in the bundle's order of features and compare with what was stored."""
    from diabetes_platform.modelling.classifier import feature_matrix, predict_proba
    from diabetes_platform.warehouse.predictions import read_predictions

    store = models.store()
    current = store.champion()
    if current is None:
        return no_champion()
    model = store.read(current.champion)
    newest = _newest(lake)
    ids = newest["id"].to_pylist()
    stored = {
        (one.intake_id, one.source_lsn): one.probability
        for one in read_predictions(warehouse.reader_url, model.bundle.model_version, ids)
    }
    again = predict_proba(model, feature_matrix(newest)).tolist()
    changes = zip(ids, newest["lsn"].to_pylist(), strict=True)
    pairs = [
        (mine, stored[change])
        for change, mine in zip(changes, again, strict=True)
        if change in stored
    ]
    return _compared(model.bundle, len(ids), pairs)


def _compared(
    bundle: "Bundle", patients: int, pairs: Sequence[tuple[float, float]]
) -> dg.AssetCheckResult:
    """Judge pairs of what the model answers now and what was stored of the same change."""
    from diabetes_platform.modelling.classifier import PROBABILITY_TOLERANCE

    furthest = max((abs(mine - other) for mine, other in pairs), default=0.0)
    differ = sum(abs(mine - other) > PROBABILITY_TOLERANCE for mine, other in pairs)
    said = f"{differ} differ, by {furthest:.3g} at most" if differ else "none differs"
    return dg.AssetCheckResult(
        passed=not differ,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(pairs)} stored answers of model {bundle.model_version} computed "
        f"again from the lake: {said}."
        if pairs
        else "The champion has answered for no patient of 30 days yet: nothing to compare.",
        metadata={
            "patients": patients,
            "answers_compared": len(pairs),
            "judged": bool(pairs),
            "differing": differ,
            "largest_difference": furthest,
            "difference_allowed": PROBABILITY_TOLERANCE,
            "model_version": bundle.model_version,
            "feature_order": ", ".join(bundle.features),
        },
    )


def _newest(lake: Lake) -> "pa.Table":
    from diabetes_platform.lake.newest_patients import patients_since

    found = patients_since(lake, datetime.now(UTC) - RECENT)
    return found.sort_by([("written_at", "descending")]).slice(0, MOST_PATIENTS)


def _columns(table: "pa.Table") -> Mapping[str, Sequence[float | None]]:
    columns: dict[str, Any] = {name: table[name].to_pylist() for name in FIELD_NAMES}
    return columns
