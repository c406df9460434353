"""The model's assets: training set, candidate with its gate, and the released champion."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.contract.fingerprint import fingerprint
from diabetes_platform.contract.tables import SERVING_PATIENTS, TRAINING_SET
from diabetes_platform.defs.describe import (
    CANDIDATE,
    CHAMPION,
    SERVING,
    TRAINING_ROWS,
    asset_options,
    table_metadata,
)
from diabetes_platform.defs.memory import recall
from diabetes_platform.defs.refusals import refusals
from diabetes_platform.defs.resources import Models, Warehouse
from diabetes_platform.lake.tables import Lake
from diabetes_platform.settings import PlatformSettings

if TYPE_CHECKING:
    from diabetes_platform.contract.bundle import Bundle
    from diabetes_platform.modelling.candidate import Candidate
    from diabetes_platform.modelling.gate import Verdict
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.training_set import TrainingSet

GATE = {
    "beats_baseline": "Better than the prevalence alone on held-out patients.",
    "beats_champion": "Better than the current champion on the same folds.",
    "reproducible": "Training again on the same rows gives the same bytes.",
}


@dg.asset(
    **asset_options(TRAINING_ROWS, {"postgres", "deltalake"}),
    deps=[SERVING],
    description="Labelled rows of the promoted version; missing stays missing.",
    metadata=table_metadata(TRAINING_SET, {SERVING: SERVING_PATIENTS}),
)
def training_set(
    lake: dg.ResourceParam[Lake], warehouse: dg.ResourceParam[Warehouse]
) -> dg.MaterializeResult:
    """Read the promoted version; the same rows add no version of the Delta table."""
    from diabetes_platform.modelling.training_set import (
        TrainingSetError,
        training_set_from_arrow,
    )
    from diabetes_platform.modelling.training_set_schema import validate_training_set
    from diabetes_platform.warehouse.labelled import read_labelled

    with refusals(TrainingSetError):
        table = read_labelled(warehouse.url)
        validate_training_set(table)
        rows = training_set_from_arrow(table)
    version, added = lake.snapshot(TRAINING_SET, table, rows.content_hash)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(rows.content_hash),
        metadata={
            "dagster/row_count": len(rows),
            "dagster/uri": lake.path(TRAINING_SET),
            "delta_version": version,
            "content_hash": rows.content_hash,
            "prevalence": rows.prevalence,
            "added": added,
        },
    )


@dg.asset(
    **asset_options(CANDIDATE, {"lightgbm"}, retry=None),
    deps=[TRAINING_ROWS],
    description="A model trained on the training set, with honest metrics and its gate.",
    check_specs=[
        dg.AssetCheckSpec(name=name, asset=CANDIDATE, blocking=True, description=text)
        for name, text in GATE.items()
    ],
)
def candidate(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[PlatformSettings],
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
) -> dg.MaterializeResult:
    """Train and judge, unless the champion was trained on this very input."""
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.training_set import TrainingSetError

    recipe = Recipe(seed=settings.model_seed)
    delta_version = int(recall(context, TRAINING_ROWS, "delta_version"))
    champion = _champion(models)
    with refusals(TrainingSetError):
        rows = _training_rows(lake, delta_version)
        if champion is not None and _was_trained_on(champion, rows, recipe):
            context.log.info("The champion was trained on this input: not trained again")
            return _is_champion(champion)
        return _train(context, rows, recipe, delta_version, champion, lake, models)


@dg.asset(
    **asset_options(CHAMPION, {"lightgbm"}),
    deps=[CANDIDATE],
    description="The released model: the pointer that every API worker follows.",
)
def champion(
    context: dg.AssetExecutionContext, models: dg.ResourceParam[Models]
) -> dg.MaterializeResult:
    """Point at the candidate; its gate has passed, or this step would not run."""
    version = str(recall(context, CANDIDATE, "model_version"))
    store = models.store()
    current = store.champion()
    released = current is None or current.champion.model_version != version
    with refusals():
        found = store.read_version(version)
        if released:
            store.release(found.pointer, expected_etag=None if current is None else current.etag)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "model_version": version,
            "previous": None if current is None else current.champion.model_version,
            "released": released,
            "training_rows": found.bundle.training["rows"],
            **_metric_metadata(found.bundle),
        },
    )


def _champion(models: Models) -> "Bundle | None":
    store = models.store()
    current = store.champion()
    return None if current is None else store.read(current.champion).bundle


def _training_rows(lake: Lake, delta_version: int) -> "TrainingSet":
    from diabetes_platform.modelling.training_set import training_set_from_arrow

    return training_set_from_arrow(lake.open(TRAINING_SET, delta_version).to_pyarrow_table())


def _train(
    context: dg.AssetExecutionContext,
    rows: "TrainingSet",
    recipe: "Recipe",
    delta_version: int,
    champion: "Bundle | None",
    lake: Lake,
    models: Models,
) -> dg.MaterializeResult:
    from diabetes_platform.modelling.candidate import is_reproducible, train_candidate
    from diabetes_platform.modelling.comparison import beats_baseline, beats_champion

    trained = train_candidate(rows, recipe, delta_version=delta_version)
    models.store().put_version(trained.bundle, trained.files)
    verdicts = {
        "beats_baseline": beats_baseline(rows, trained.held_out),
        "beats_champion": beats_champion(
            rows,
            trained.held_out,
            trained.bundle,
            champion=champion,
            champion_rows=_champion_rows(lake, champion),
        ),
    }
    checks = [_verdict_result(name, verdict) for name, verdict in verdicts.items()]
    same_bytes = dg.AssetCheckResult(
        check_name="reproducible", passed=is_reproducible(trained.bundle, rows)
    )
    context.log.info("Candidate %s trained on %s rows", trained.bundle.model_version, len(rows))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(trained.bundle.model_version),
        metadata=_candidate_metadata(trained, rows),
        check_results=[*checks, same_bytes],
    )


def _was_trained_on(champion: "Bundle", rows: "TrainingSet", recipe: "Recipe") -> bool:
    """Whether training would give the champion again: same rows, recipe, libraries, contract."""
    from diabetes_platform.modelling.candidate import library_versions
    from diabetes_platform.modelling.recipe import recipe_to_json

    return (
        champion.training["content_hash"] == rows.content_hash
        and champion.training["recipe"] == recipe_to_json(recipe)
        and champion.libraries == library_versions()
        and champion.contract_fingerprint == fingerprint()
    )


def _is_champion(champion: "Bundle") -> dg.MaterializeResult:
    """Report the champion as its own candidate; its gate passed when it was released."""
    text = f"is the champion already ({champion.model_version}): it passed when it was released"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(champion.model_version),
        metadata={
            "model_version": champion.model_version,
            "processed": False,
            "training_rows": champion.training["rows"],
            **_metric_metadata(champion),
        },
        check_results=[
            dg.AssetCheckResult(check_name=name, passed=True, description=text) for name in GATE
        ],
    )


def _champion_rows(lake: Lake, champion: "Bundle | None") -> "TrainingSet | None":
    """Return the rows that the champion was trained on; None where its contract is another."""
    if champion is None or champion.contract_fingerprint != fingerprint():
        return None
    return _training_rows(lake, int(champion.training["delta_version"]))


def _verdict_result(name: str, verdict: "Verdict") -> dg.AssetCheckResult:
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
        check_name=name, passed=verdict.passed, description=verdict.text, metadata=metadata
    )


def _metric_metadata(bundle: "Bundle") -> dict[str, Any]:
    rows = [
        f"| {name} | {metric['value']:.3f} | {metric['low']:.3f} to {metric['high']:.3f} |"
        for name, metric in bundle.metrics.items()
    ]
    table = "\n".join(["| metric | estimate | 95 % interval |", "|---|---|---|", *rows])
    values = {name: metric["value"] for name, metric in bundle.metrics.items()}
    return {"metrics": dg.MetadataValue.md(table), **values}


def _candidate_metadata(trained: "Candidate", rows: "TrainingSet") -> dict[str, Any]:
    from diabetes_platform.modelling.plots import plot_candidate, png_markdown

    bundle = trained.bundle
    plots = {
        f"plot/{name}": dg.MetadataValue.md(png_markdown(png, name))
        for name, png in plot_candidate(trained, rows).items()
    }
    return {
        "model_version": bundle.model_version,
        "processed": True,
        "training_rows": len(rows),
        "training_delta_version": bundle.training["delta_version"],
        "contract_fingerprint": bundle.contract_fingerprint,
        "threshold": bundle.threshold,
        "files": dg.MetadataValue.json(bundle.files),
        "libraries": dg.MetadataValue.json(bundle.libraries),
        **_metric_metadata(bundle),
        **plots,
    }
