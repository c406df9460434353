"""`model/shadow`: the challenger beside the champion on live patients, before it is released."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.contract.tables import SHADOW_SCORES, STREAM_PATIENTS
from diabetes_platform.defs.model.candidate import CHAMPION_ETAG, COMPARISONS, require_candidate
from diabetes_platform.defs.model.metadata import verdicts_from_json
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    SHADOW,
    STREAM,
    TRAINING_POOL,
    asset_options,
    table_metadata,
)
from diabetes_platform.orchestration.resources import Models

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from diabetes_platform.modelling.release_gate import GateResult
    from diabetes_platform.modelling.shadow import ShadowComparison
    from diabetes_platform.modelling.store import CurrentVersion, ModelVersion

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
        scores = _no_scores("the candidate was withdrawn")
    elif not _passed_comparisons(verdicts_from_json(record.verdicts)):
        scores = _no_scores("the candidate is no better than the champion")
    else:
        scores = _score(lake, champion, challenger)
    comparison = scores.comparison
    commit_metadata = {
        CHALLENGER: challenger.bundle.model_version,
        "champion": "" if champion is None else champion.bundle.model_version,
        CHAMPION_ETAG: "" if champion is None else champion.etag,
        PLAUSIBLE: str(comparison.plausible).lower(),
    }
    version, added = lake.snapshot(
        SHADOW_SCORES, scores.rows, _content_hash(scores.rows, commit_metadata), commit_metadata
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": scores.rows.num_rows,
            "dagster/uri": lake.table(SHADOW_SCORES).path,
            "delta_version": version,
            "added": added,
            **commit_metadata,
            PLAUSIBLE: comparison.plausible,
        },
        check_results=[_check_result(comparison, scores.reason_for_no_rows)],
    )


def _passed_comparisons(verdicts: "Mapping[str, GateResult]") -> bool:
    return all(verdicts[name].passed for name in COMPARISONS)


def _content_hash(rows: "pa.Table", commit_metadata: "Mapping[str, str]") -> str:
    """Hash rows and models: two tables without rows would otherwise have the same hash."""
    from diabetes_platform.lake.arrow import content_hash_of

    parts = [content_hash_of(rows, SHADOW_SCORES.key[0]), *commit_metadata.values()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The rows of SHADOW_SCORES and their comparison, or the reason why there are no rows."""

    rows: "pa.Table"
    comparison: "ShadowComparison"
    reason_for_no_rows: str | None = None


def _score(lake: Lake, champion: "CurrentVersion | None", challenger: "ModelVersion") -> Scores:
    from diabetes_platform.contract.fields import fingerprint
    from diabetes_platform.lake.newest_patients import patients_since
    from diabetes_platform.modelling.classifier import feature_matrix, predict_proba
    from diabetes_platform.modelling.release_gate import predicts_identically
    from diabetes_platform.modelling.shadow import compare_predictions

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
    count = len(champion_risks)
    columns = [
        patients["id"],
        patients["lsn"],
        [champion.bundle.model_version] * count,
        champion_risks,
        [challenger.bundle.model_version] * count,
        challenger_risks,
    ]
    return Scores(_rows(columns), comparison)


def _no_scores(reason: str) -> Scores:
    from diabetes_platform.lake.arrow import row_schema
    from diabetes_platform.modelling.shadow import ShadowComparison

    return Scores(
        row_schema(SHADOW_SCORES).empty_table(), ShadowComparison(0, None, None, 0, None), reason
    )


def _rows(columns: list[object]) -> "pa.Table":
    import pyarrow as pa

    from diabetes_platform.lake.arrow import row_schema

    return pa.table(dict(zip(SHADOW_SCORES.column_names, columns, strict=True))).cast(
        row_schema(SHADOW_SCORES)
    )


def _check_result(comparison: "ShadowComparison", reason: str | None) -> dg.AssetCheckResult:
    from diabetes_platform.modelling.shadow import CHANGED_SHARE, MEAN_SHIFT

    numbers = {
        "champion_mean": comparison.champion_mean,
        "challenger_mean": comparison.challenger_mean,
        "largest_difference": comparison.max_difference,
    }
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=comparison.plausible,
        description=f"Nothing to compare: {reason}." if reason else f"{comparison.text}.",
        metadata={
            "patients": comparison.patients,
            "judged": comparison.conclusive,
            "other_results": comparison.changed,
            "other_results_allowed_share": CHANGED_SHARE,
            "mean_shift_allowed": MEAN_SHIFT,
            **{name: number for name, number in numbers.items() if number is not None},
        },
    )
