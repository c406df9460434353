"""`model/shadow`: the challenger beside the champion on live patients, before it is released."""

import hashlib
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa

from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.tables import SHADOW_SCORES, STREAM_PATIENTS
from diabetes_platform.defs.model.candidate import CHAMPION_ETAG, COMPARISONS, require_candidate
from diabetes_platform.lake.arrow import content_hash_of, row_schema
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.newest_patients import patients_since
from diabetes_platform.modelling.classifier import predict_proba
from diabetes_platform.modelling.release_gate import predicts_identically
from diabetes_platform.modelling.shadow import (
    CHANGED_SHARE,
    MEAN_SHIFT,
    ShadowComparison,
    compare_predictions,
)
from diabetes_platform.modelling.store import CurrentVersion, ModelVersion
from diabetes_platform.modelling.training_set import feature_matrix
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.check_results import without_none
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    SHADOW,
    STREAM,
    TRAINING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Models

RECENT = timedelta(days=30)
CHALLENGER = "challenger"
PLAUSIBLE = "plausible"
CHECK = "answers_are_plausible"


@dg.asset(
    **asset_options(SHADOW, {"lightgbm", "deltalake"}, TRAINING_POOL),
    automation_condition=FOLLOW,
    deps=[CANDIDATE, STREAM],
    description="The live patients of the last 30 days, scored by challenger and champion. Only "
    "the champion answers requests.",
    metadata=table_metadata(SHADOW_SCORES, {STREAM: STREAM_PATIENTS}),
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset=SHADOW,
            blocking=True,
            description="Over the live patients the challenger's risks and results are not far "
            "from the champion's. Not evaluated below 30 patients.",
        )
    ],
)
def shadow(lake: dg.ResourceParam[Lake], models: dg.ResourceParam[Models]) -> dg.MaterializeResult:
    """Score live patients, by their newest images, with both models, and compare the scores."""
    store = models.store()
    record = require_candidate(store)
    challenger = store.read_version(record.model_version)
    champion = store.current_version()
    if challenger.bundle.model_version in store.withdrawn():
        rows, comparison = _no_scores("the candidate was withdrawn")
    elif not all(record.verdicts[name].passed for name in COMPARISONS):
        rows, comparison = _no_scores("the candidate is no better than the champion")
    else:
        rows, comparison = _score(lake, champion, challenger)
    commit_metadata = {
        CHALLENGER: challenger.bundle.model_version,
        "champion": "" if champion is None else champion.bundle.model_version,
        CHAMPION_ETAG: "" if champion is None else champion.etag,
        PLAUSIBLE: str(comparison.plausible).lower(),
    }
    # Rows and models: two tables without rows would otherwise have the same hash.
    parts = [content_hash_of(rows, SHADOW_SCORES.key[0]), *commit_metadata.values()]
    content_hash = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    version, added = lake.snapshot(SHADOW_SCORES, rows, content_hash, commit_metadata)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.num_rows,
            "dagster/uri": lake.table(SHADOW_SCORES).path,
            "delta_version": version,
            "added": added,
            **commit_metadata,
            PLAUSIBLE: comparison.plausible,
        },
        check_results=[_check_result(comparison)],
    )


def _score(
    lake: Lake, champion: CurrentVersion | None, challenger: ModelVersion
) -> tuple[pa.Table, ShadowComparison]:
    """Return the rows of SHADOW_SCORES and their comparison."""
    if champion is None:
        return _no_scores("there is no champion yet")
    if predicts_identically(challenger.bundle, champion.bundle):
        return _no_scores("the candidate is the champion")
    if champion.bundle.contract_fingerprint != fingerprint():
        return _no_scores("the champion is of another contract and cannot score these patients")
    patients = patients_since(lake, datetime.now(UTC) - RECENT)
    features = feature_matrix(patients)
    champion_risks = predict_proba(champion.model, features)
    challenger_risks = predict_proba(challenger, features)
    comparison = compare_predictions(
        champion_risks,
        challenger_risks,
        champion_threshold=champion.bundle.threshold,
        challenger_threshold=challenger.bundle.threshold,
    )
    columns = [
        patients["id"],
        patients["lsn"],
        [champion.bundle.model_version] * len(champion_risks),
        champion_risks,
        [challenger.bundle.model_version] * len(champion_risks),
        challenger_risks,
    ]
    rows = pa.table(dict(zip(SHADOW_SCORES.column_names, columns, strict=True)))
    return rows.cast(row_schema(SHADOW_SCORES)), comparison


def _no_scores(reason: str) -> tuple[pa.Table, ShadowComparison]:
    return row_schema(SHADOW_SCORES).empty_table(), ShadowComparison(not_compared=reason)


def _check_result(comparison: ShadowComparison) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=comparison.plausible,
        description=f"{comparison.text}.",
        metadata={
            "patients": comparison.patients,
            "judged": comparison.conclusive,
            "other_results": comparison.changed,
            "other_results_allowed_share": CHANGED_SHARE,
            "mean_shift_allowed": MEAN_SHIFT,
            **without_none(
                champion_mean=comparison.champion_mean,
                challenger_mean=comparison.challenger_mean,
                largest_difference=comparison.max_difference,
            ),
        },
    )
