"""`model/candidate`: a model trained on the newest training set, with its gate."""

from dataclasses import asdict, replace
from typing import Any

import dagster as dg

from diabetes_platform.contract.bundle import Bundle
from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.lake.delta import Lake
from diabetes_platform.modelling.gate_result import GateResult
from diabetes_platform.modelling.plots import plot_candidate, png_markdown
from diabetes_platform.modelling.recipe import Recipe, recipe_to_json
from diabetes_platform.modelling.release_gate import (
    evaluate_against_baseline,
    evaluate_against_champion,
    evaluate_on_new_rows,
)
from diabetes_platform.modelling.store import CandidateRecord, CurrentVersion, ModelStore
from diabetes_platform.modelling.training import (
    Candidate,
    is_reproducible,
    library_versions,
    train_candidate,
)
from diabetes_platform.modelling.training_set import (
    TrainingSet,
    TrainingSetError,
    training_set_from_arrow,
)
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
    recipe = Recipe(seed=settings.model_seed)
    store = models.store()
    delta_version = require_commit(lake.table(TRAINING_SET)).version
    current = store.current_version()
    with non_retryable_errors(TrainingSetError):
        rows = _training_rows(lake, delta_version)
        version = _training_input(rows, recipe)
        record = store.candidate()
        if record and current and _is_evaluated(record, version, current):
            context.log.info("Input and champion unchanged: not trained again")
            record = replace(record, champion_etag=current.etag)
            bundle = store.read_version(record.model_version).bundle
            plots = _stored_plots(context.instance)
            processed = False
        else:
            trained = train_candidate(rows, recipe, delta_version=delta_version)
            bundle = trained.bundle
            plots = _plots(trained, rows)
            processed = True
            store.put_version(bundle, trained.files)
            record = CandidateRecord(
                bundle.model_version,
                input_version=version,
                champion_etag="" if current is None else current.etag,
                verdicts=_evaluate(trained, rows, current, lake),
            )
            context.log.info("Candidate %s trained on %s rows", bundle.model_version, len(rows))
        store.put_candidate(record)
    verdicts = {name: asdict(verdict) for name, verdict in record.verdicts.items()}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(record.model_version),
        metadata={
            "model_version": bundle.model_version,
            "training_rows": bundle.training["rows"],
            "training_delta_version": bundle.training["delta_version"],
            "contract_fingerprint": bundle.contract_fingerprint,
            "threshold": bundle.threshold,
            "files": dg.MetadataValue.json(bundle.files),
            "libraries": dg.MetadataValue.json(bundle.libraries),
            **metric_metadata(bundle),
            **plots,
            INPUT_VERSION: version,
            "verdicts": dg.MetadataValue.json(verdicts),
            CHAMPION_ETAG: record.champion_etag,
            "processed": processed,
        },
        check_results=[_check_result(*verdict) for verdict in record.verdicts.items()],
    )


def require_candidate(store: ModelStore) -> CandidateRecord:
    """Return the newest candidate; dg.Failure if the store has none."""
    if (record := store.candidate()) is None:
        key = CANDIDATE.to_user_string()
        raise dg.Failure(f"{key}: no candidate yet: materialize it first", allow_retries=False)
    return record


def _training_rows(lake: Lake, delta_version: int) -> TrainingSet:
    return training_set_from_arrow(lake.table(TRAINING_SET).open(delta_version).to_pyarrow_table())


def _training_input(rows: TrainingSet, recipe: Recipe) -> str:
    """Digest everything that training depends on: rows, recipe, libraries, code, contract."""
    parts = (CODE_VERSION, rows.content_hash, recipe_to_json(recipe), library_versions())
    return input_version("candidate", *parts)


def _is_evaluated(record: CandidateRecord, version: str, champion: CurrentVersion) -> bool:
    """Whether the candidate was trained on this input and is, or was compared with, `champion`."""
    is_champion = record.model_version == champion.bundle.model_version
    return record.input_version == version and (
        is_champion or record.champion_etag == champion.etag
    )


def _evaluate(
    trained: Candidate, rows: TrainingSet, current: CurrentVersion | None, lake: Lake
) -> dict[str, GateResult]:
    """Return the verdict on the candidate for each rule of GATE."""
    model = None if current is None else current.model
    champion = None if model is None else model.bundle
    champion_rows = _champion_rows(lake, champion)
    scored = (rows, trained.out_of_fold, trained.bundle)
    reproducible = is_reproducible(trained.bundle, rows)
    return {
        "beats_baseline": evaluate_against_baseline(rows, trained.out_of_fold),
        "beats_champion": evaluate_against_champion(
            *scored, champion=champion, champion_rows=champion_rows
        ),
        "beats_champion_on_newest_rows": evaluate_on_new_rows(
            *scored, champion=model, champion_rows=champion_rows
        ),
        "reproducible": GateResult(
            passed=reproducible,
            text="training again on the same rows gives "
            f"{'the same' if reproducible else 'other'} bytes",
        ),
    }


def _champion_rows(lake: Lake, champion: Bundle | None) -> TrainingSet | None:
    """Return the rows that the champion was trained on; None if it has another contract."""
    if champion is None or champion.contract_fingerprint != fingerprint():
        return None
    return _training_rows(lake, int(champion.training["delta_version"]))


def _check_result(name: str, verdict: GateResult) -> dg.AssetCheckResult:
    """Return the check result of a gate rule, with its metric differences."""
    severities = dg.AssetCheckSeverity
    metadata: dict[str, Any] = {}
    for difference in verdict.differences:
        metadata |= {
            f"{difference.metric}/candidate": difference.candidate,
            f"{difference.metric}/rival": difference.rival,
            f"{difference.metric}/difference": difference.estimate,
            f"{difference.metric}/low": difference.low,
            f"{difference.metric}/high": difference.high,
        }
    return dg.AssetCheckResult(
        check_name=name,
        passed=verdict.passed,
        severity=severities.WARN if name in COMPARISONS else severities.ERROR,
        description=verdict.text,
        metadata=metadata,
    )


def metric_metadata(bundle: Bundle) -> dict[str, Any]:
    """Return a model's metrics as a table with intervals, and as numbers that Dagster plots."""
    rows = [
        f"| {name} | {metric['value']:.3f} | {metric['low']:.3f} to {metric['high']:.3f} |"
        for name, metric in bundle.metrics.items()
    ]
    table = "\n".join(["| metric | estimate | 95 % interval |", "|---|---|---|", *rows])
    values = {name: metric["value"] for name, metric in bundle.metrics.items()}
    return {"metrics": dg.MetadataValue.md(table), **values}


def _plots(trained: Candidate, rows: TrainingSet) -> dict[str, Any]:
    plots = plot_candidate(trained, rows).items()
    return {f"plot/{name}": dg.MetadataValue.md(png_markdown(png, name)) for name, png in plots}


def _stored_plots(instance: dg.DagsterInstance) -> dict[str, Any]:
    """Return the plots of the latest materialization: only the event log keeps them."""
    event = instance.get_latest_materialization_event(CANDIDATE)
    if event is None or event.asset_materialization is None:
        return {}
    metadata = event.asset_materialization.metadata
    return {name: value for name, value in metadata.items() if name.startswith("plot/")}
