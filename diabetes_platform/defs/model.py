"""The model's assets: training set, candidate with its gate, and the released champion."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from diabetes_platform.defs.memory import recall, remembered
from diabetes_platform.defs.model_metadata import (
    candidate_metadata,
    metric_metadata,
    verdict_result,
)
from diabetes_platform.defs.refusals import refusals
from diabetes_platform.defs.resources import Models, Warehouse
from diabetes_platform.lake.tables import Lake
from diabetes_platform.settings import PlatformSettings

if TYPE_CHECKING:
    from diabetes_platform.contract.bundle import Bundle
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.training_set import TrainingSet

CHAMPION_ETAG = "champion_etag"
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
            "dagster/uri": lake.table(TRAINING_SET).path,
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
    reigning = _reigning(models)
    with refusals(TrainingSetError):
        rows = _training_rows(lake, delta_version)
        if reigning is not None and _was_trained_on(reigning.bundle, rows, recipe):
            context.log.info("The champion was trained on this input: not trained again")
            return _is_champion(context, reigning)
        return _train(context, rows, recipe, delta_version, reigning, lake, models)


@dg.asset(
    **asset_options(CHAMPION, {"lightgbm"}),
    deps=[CANDIDATE],
    description="The released model: the pointer that every API worker follows.",
)
def champion(
    context: dg.AssetExecutionContext, models: dg.ResourceParam[Models]
) -> dg.MaterializeResult:
    """Point at the candidate; its gate has passed, or this step would not run.

    The pointer must still be the one that the candidate was judged against: a champion released
    since then was never compared with it, and the run fails.
    """
    from diabetes_platform.modelling.gate import same_model
    from diabetes_platform.modelling.store import LostRaceError

    store = models.store()
    judged = store.read_version(str(recall(context, CANDIDATE, "model_version")))
    against = recall(context, CANDIDATE, CHAMPION_ETAG) or None
    reigning = _reigning(models)
    released = reigning is None or not same_model(judged.bundle, reigning.bundle)
    with refusals(LostRaceError):
        if released:
            store.release(judged.pointer, expected_etag=against)
    bundle = judged.bundle if released or reigning is None else reigning.bundle
    return dg.MaterializeResult(
        data_version=dg.DataVersion(bundle.model_version),
        metadata={
            "model_version": bundle.model_version,
            "previous": None if reigning is None else reigning.bundle.model_version,
            "released": released,
            "training_rows": bundle.training["rows"],
            **metric_metadata(bundle),
        },
    )


@dataclass(frozen=True, slots=True)
class Reigning:
    """The champion at one moment: `etag` is what a release must still find."""

    bundle: "Bundle"
    etag: str


def _reigning(models: Models) -> Reigning | None:
    store = models.store()
    current = store.champion()
    if current is None:
        return None
    return Reigning(store.read(current.champion).bundle, current.etag)


def _training_rows(lake: Lake, delta_version: int) -> "TrainingSet":
    from diabetes_platform.modelling.training_set import training_set_from_arrow

    return training_set_from_arrow(lake.table(TRAINING_SET).open(delta_version).to_pyarrow_table())


def _train(
    context: dg.AssetExecutionContext,
    rows: "TrainingSet",
    recipe: "Recipe",
    delta_version: int,
    reigning: Reigning | None,
    lake: Lake,
    models: Models,
) -> dg.MaterializeResult:
    from diabetes_platform.modelling.candidate import is_reproducible, train_candidate
    from diabetes_platform.modelling.comparison import beats_baseline, beats_champion

    trained = train_candidate(rows, recipe, delta_version=delta_version)
    models.store().put_version(trained.bundle, trained.files)
    champion = None if reigning is None else reigning.bundle
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
    checks = [verdict_result(name, verdict) for name, verdict in verdicts.items()]
    same_bytes = dg.AssetCheckResult(
        check_name="reproducible", passed=is_reproducible(trained.bundle, rows)
    )
    context.log.info("Candidate %s trained on %s rows", trained.bundle.model_version, len(rows))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(trained.bundle.model_version),
        metadata={
            **candidate_metadata(trained, rows),
            CHAMPION_ETAG: "" if reigning is None else reigning.etag,
        },
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


def _is_champion(context: dg.AssetExecutionContext, reigning: Reigning) -> dg.MaterializeResult:
    """Report the champion as its own candidate; its gate passed when it was released."""
    champion = reigning.bundle
    text = f"is the champion already ({champion.model_version}): it passed when it was released"
    known = remembered(context, CANDIDATE)
    # The plots of its training stay in sight, unless another candidate came in between.
    same = "model_version" in known and known["model_version"].value == champion.model_version
    return dg.MaterializeResult(
        data_version=dg.DataVersion(champion.model_version),
        metadata={
            **(known if same else {}),
            "model_version": champion.model_version,
            "processed": False,
            CHAMPION_ETAG: reigning.etag,
            "training_rows": champion.training["rows"],
            **metric_metadata(champion),
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
