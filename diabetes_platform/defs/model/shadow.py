"""`model/shadow`: the challenger beside the champion on live patients, before it is released."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.contract.tables import SHADOW_SCORES, STREAM_PATIENTS
from diabetes_platform.defs.model.candidate import (
    CHAMPION_ETAG,
    COMPARISONS,
    VERDICTS,
    Reigning,
    read_reigning,
)
from diabetes_platform.defs.model.metadata import stored_verdicts
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
from diabetes_platform.orchestration.memory import remember
from diabetes_platform.orchestration.resources import Models

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from diabetes_platform.modelling.release_gate import GateResult
    from diabetes_platform.modelling.shadow import ShadowComparison
    from diabetes_platform.modelling.store import ModelVersion

RECENT = timedelta(days=30)
CHALLENGER = "challenger"
PLAUSIBLE = "plausible"
CHECK = "answers_are_plausible"


@dg.asset(
    **asset_options(SHADOW, {"lightgbm", "deltalake"}, TRAINING_POOL),
    automation_condition=FOLLOW,
    deps=[CANDIDATE, STREAM],
    description="Each live patient of 30 days scored by the challenger and by the champion. Nobody "
    "is answered by the challenger before it is released.",
    metadata=table_metadata(SHADOW_SCORES, {STREAM: STREAM_PATIENTS}),
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset=SHADOW,
            blocking=True,
            description="Over the live patients the challenger's risks and results are not far "
            "from the champion's. Not judged below 30 patients.",
        )
    ],
)
def shadow(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
) -> dg.MaterializeResult:
    """Score the stream's newest images by both, keep the scores, and compare them."""
    from diabetes_platform.lake.arrow import content_hash_of

    store = models.store()
    newest = remember(context, CANDIDATE)
    challenger = store.read_version(str(newest.recall("model_version")))
    reigning = read_reigning(store)
    if challenger.bundle.model_version in store.withdrawn():
        both = _none("the candidate was withdrawn")
    elif _lost(stored_verdicts(newest.recall(VERDICTS))):
        both = _none("the candidate is no better than the champion")
    else:
        both = _answers(lake, reigning, challenger)
    content_hash = content_hash_of(both.rows, SHADOW_SCORES.key[0])
    version, added = lake.snapshot(SHADOW_SCORES, both.rows, content_hash)
    compared = both.compared
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": both.rows.num_rows,
            "dagster/uri": lake.table(SHADOW_SCORES).path,
            "delta_version": version,
            "added": added,
            CHALLENGER: challenger.bundle.model_version,
            "champion": "" if reigning is None else reigning.bundle.model_version,
            CHAMPION_ETAG: "" if reigning is None else reigning.etag,
            PLAUSIBLE: compared.plausible,
        },
        check_results=[_result(compared, both.said)],
    )


def _lost(verdicts: "Mapping[str, GateResult]") -> bool:
    return not all(verdicts[name].passed for name in COMPARISONS)


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """The rows of SHADOW_SCORES, what they come to, and why there are none where it is known."""

    rows: "pa.Table"
    compared: "ShadowComparison"
    said: str | None = None


def _answers(lake: Lake, reigning: Reigning | None, challenger: "ModelVersion") -> Both:
    from diabetes_platform.contract.fields import fingerprint
    from diabetes_platform.lake.newest_patients import patients_since
    from diabetes_platform.modelling.classifier import feature_matrix, predict_proba
    from diabetes_platform.modelling.release_gate import predicts_identically
    from diabetes_platform.modelling.shadow import compare_predictions

    if reigning is None:
        return _none("there is no champion yet")
    if predicts_identically(challenger.bundle, reigning.bundle):
        return _none("the candidate is the champion")
    if reigning.bundle.contract_fingerprint != fingerprint():
        return _none("the champion is of another contract and cannot score these patients")
    live = patients_since(lake, datetime.now(UTC) - RECENT)
    features = feature_matrix(live)
    of_champion, of_challenger = (
        predict_proba(each, features) for each in (reigning.model, challenger)
    )
    compared = compare_predictions(
        of_champion,
        of_challenger,
        champion_threshold=reigning.bundle.threshold,
        challenger_threshold=challenger.bundle.threshold,
    )
    count = len(of_champion)
    columns = [
        live["id"],
        live["lsn"],
        [reigning.bundle.model_version] * count,
        of_champion,
        [challenger.bundle.model_version] * count,
        of_challenger,
    ]
    return Both(_rows(columns), compared)


def _none(said: str) -> Both:
    from diabetes_platform.lake.arrow import row_schema
    from diabetes_platform.modelling.shadow import ShadowComparison

    return Both(
        row_schema(SHADOW_SCORES).empty_table(), ShadowComparison(0, None, None, 0, None), said
    )


def _rows(columns: list[object]) -> "pa.Table":
    import pyarrow as pa

    from diabetes_platform.lake.arrow import row_schema

    return pa.table(dict(zip(SHADOW_SCORES.column_names, columns, strict=True))).cast(
        row_schema(SHADOW_SCORES)
    )


def _result(compared: "ShadowComparison", said: str | None) -> dg.AssetCheckResult:
    from diabetes_platform.modelling.shadow import CHANGED_SHARE, MEAN_SHIFT

    numbers = {
        "champion_mean": compared.champion_mean,
        "challenger_mean": compared.challenger_mean,
        "largest_difference": compared.max_difference,
    }
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=compared.plausible,
        description=f"Nothing to compare: {said}." if said else f"{compared.text}.",
        metadata={
            "patients": compared.patients,
            "judged": compared.conclusive,
            "other_results": compared.changed,
            "other_results_allowed_share": CHANGED_SHARE,
            "mean_shift_allowed": MEAN_SHIFT,
            **{name: number for name, number in numbers.items() if number is not None},
        },
    )
