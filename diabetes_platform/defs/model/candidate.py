"""`model/candidate`: a model trained on the newest training set, with its gate."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.defs.model.metadata import (
    bundle_metadata,
    candidate_metadata,
    verdict_result,
    verdicts_from_json,
    verdicts_to_json,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.batch_state import (
    INPUT_VERSION,
    input_version,
    require_commit,
)
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    TRAINING_POOL,
    TRAINING_ROWS,
    asset_options,
)
from diabetes_platform.orchestration.resources import Models
from diabetes_platform.orchestration.retries import non_retryable_errors
from diabetes_platform.settings import PlatformSettings

if TYPE_CHECKING:
    from diabetes_platform.contract.bundle import Bundle
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.release_gate import GateResult
    from diabetes_platform.modelling.store import CandidateRecord, CurrentVersion, ModelStore
    from diabetes_platform.modelling.training import Candidate
    from diabetes_platform.modelling.training_set import TrainingSet

CODE_VERSION = "2"
"""Increment it when training or evaluation changes: every candidate is then trained again."""
CHAMPION_ETAG = "champion_etag"
RULES = {
    "beats_baseline": "Better than the prevalence alone on held-out patients.",
    "reproducible": "Training again on the same rows gives the same bytes.",
}
"""Rules that every candidate must pass; otherwise its run fails."""
COMPARISONS = {
    "beats_champion": "Better than the current champion on the same folds; otherwise the candidate "
    "is not released.",
    "beats_champion_on_newest_rows": "Better than the champion on the labelled rows that it has "
    "never learned from, of which 30 are required; otherwise the candidate is not released.",
}
"""Rules that a good candidate may fail: the champion then stays, and the run succeeds."""
GATE = RULES | COMPARISONS


@dg.asset(
    **asset_options(CANDIDATE, {"lightgbm", "file"}, TRAINING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[TRAINING_ROWS],
    description="A model trained on the training set, with out-of-fold metrics and its gate.",
    check_specs=[
        dg.AssetCheckSpec(name=name, asset=CANDIDATE, blocking=name in RULES, description=text)
        for name, text in GATE.items()
    ],
)
def candidate(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
) -> dg.MaterializeResult:
    """Train and evaluate a model, unless this input was already evaluated against this champion."""
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.training_set import TrainingSetError

    recipe, store = Recipe(seed=settings.model_seed), models.store()
    delta_version = require_commit(lake.table(TRAINING_SET)).version
    champion = store.current_version()
    with non_retryable_errors(TrainingSetError):
        rows = _training_rows(lake, delta_version)
        version = _training_input(rows, recipe)
        record = store.candidate()
        if record and champion and _is_evaluated(record, version, champion):
            context.log.info("Input and champion unchanged: not trained again")
            return _unchanged(context, store, record, champion)
        return _train(context, rows, recipe, delta_version, version, champion, lake, store)


def require_candidate(store: "ModelStore") -> "CandidateRecord":
    """Return the newest candidate; dg.Failure if the store has none."""
    if (record := store.candidate()) is None:
        key = CANDIDATE.to_user_string()
        raise dg.Failure(f"{key}: no candidate yet: materialize it first", allow_retries=False)
    return record


def _training_rows(lake: Lake, delta_version: int) -> "TrainingSet":
    from diabetes_platform.modelling.training_set import training_set_from_arrow

    return training_set_from_arrow(lake.table(TRAINING_SET).open(delta_version).to_pyarrow_table())


def _train(
    context: dg.AssetExecutionContext,
    rows: "TrainingSet",
    recipe: "Recipe",
    delta_version: int,
    version: str,
    champion: "CurrentVersion | None",
    lake: Lake,
    store: "ModelStore",
) -> dg.MaterializeResult:
    from diabetes_platform.modelling.store import CandidateRecord
    from diabetes_platform.modelling.training import train_candidate

    trained = train_candidate(rows, recipe, delta_version=delta_version)
    store.put_version(trained.bundle, trained.files)
    verdicts = _evaluate(trained, rows, champion, lake)
    etag = "" if champion is None else champion.etag
    model_version = trained.bundle.model_version
    store.put_candidate(CandidateRecord(model_version, version, etag, verdicts_to_json(verdicts)))
    context.log.info("Candidate %s trained on %s rows", model_version, len(rows))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(model_version),
        metadata={
            **candidate_metadata(trained, rows),
            INPUT_VERSION: version,
            "verdicts": dg.MetadataValue.json(verdicts_to_json(verdicts)),
            CHAMPION_ETAG: etag,
            "processed": True,
        },
        check_results=[*_results(verdicts)],
    )


def _evaluate(
    trained: "Candidate", rows: "TrainingSet", champion: "CurrentVersion | None", lake: Lake
) -> dict[str, "GateResult"]:
    """Return the verdict on the candidate for each rule of GATE."""
    from diabetes_platform.modelling.release_gate import (
        evaluate_against_baseline,
        evaluate_against_champion,
        evaluate_on_new_rows,
        evaluate_reproducibility,
    )
    from diabetes_platform.modelling.training import is_reproducible

    bundle = None if champion is None else champion.bundle
    champion_rows = _champion_rows(lake, bundle)
    scored = (rows, trained.held_out, trained.bundle)
    return {
        "beats_baseline": evaluate_against_baseline(rows, trained.held_out),
        "beats_champion": evaluate_against_champion(
            *scored, champion=bundle, champion_rows=champion_rows
        ),
        "beats_champion_on_newest_rows": evaluate_on_new_rows(
            *scored,
            champion=None if champion is None else champion.model,
            champion_rows=champion_rows,
        ),
        "reproducible": evaluate_reproducibility(identical=is_reproducible(trained.bundle, rows)),
    }


def _results(verdicts: Mapping[str, "GateResult"]) -> Iterator[dg.AssetCheckResult]:
    severities = dg.AssetCheckSeverity
    for name, verdict in verdicts.items():
        yield verdict_result(
            name, verdict, severities.WARN if name in COMPARISONS else severities.ERROR
        )


def _training_input(rows: "TrainingSet", recipe: "Recipe") -> str:
    """Digest everything that training depends on: rows, recipe, libraries, code, contract."""
    from diabetes_platform.modelling.recipe import recipe_to_json
    from diabetes_platform.modelling.training import library_versions

    parts = (CODE_VERSION, rows.content_hash, recipe_to_json(recipe), library_versions())
    return input_version("candidate", *parts)


def _is_evaluated(record: "CandidateRecord", version: str, champion: "CurrentVersion") -> bool:
    """Whether the candidate was trained on this input and is, or was compared with, `champion`."""
    is_champion = record.model_version == champion.bundle.model_version
    return record.input_version == version and (
        is_champion or record.champion_etag == champion.etag
    )


def _unchanged(
    context: dg.AssetExecutionContext,
    store: "ModelStore",
    record: "CandidateRecord",
    champion: "CurrentVersion",
) -> dg.MaterializeResult:
    """Report the newest candidate with its stored verdicts against this champion."""
    store.put_candidate(replace(record, champion_etag=champion.etag))
    bundle = store.read_version(record.model_version).bundle
    return dg.MaterializeResult(
        data_version=dg.DataVersion(record.model_version),
        metadata={
            **bundle_metadata(bundle),
            **_plots(context.instance),
            INPUT_VERSION: record.input_version,
            "verdicts": dg.MetadataValue.json(record.verdicts),
            CHAMPION_ETAG: champion.etag,
            "processed": False,
        },
        check_results=[*_results(verdicts_from_json(record.verdicts))],
    )


def _plots(instance: dg.DagsterInstance) -> dict[str, Any]:
    """Return the plots of the latest materialization: only the event log keeps them."""
    event = instance.get_latest_materialization_event(CANDIDATE)
    if event is None or event.asset_materialization is None:
        return {}
    metadata = event.asset_materialization.metadata
    return {name: value for name, value in metadata.items() if name.startswith("plot/")}


def _champion_rows(lake: Lake, champion: "Bundle | None") -> "TrainingSet | None":
    """Return the rows that the champion was trained on; None if it has another contract."""
    if champion is None or champion.contract_fingerprint != fingerprint():
        return None
    return _training_rows(lake, int(champion.training["delta_version"]))
