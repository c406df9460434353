"""`model/candidate`: a model trained on the newest training set, with its gate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.contract.fields import fingerprint
from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.defs.model.metadata import (
    candidate_metadata,
    storable_verdicts,
    stored_verdicts,
    verdict_result,
)
from diabetes_platform.lake.delta import Lake
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    TRAINING_POOL,
    TRAINING_ROWS,
    asset_options,
)
from diabetes_platform.orchestration.memory import INPUT_VERSION, Memory, input_version, remember
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.resources import Models
from diabetes_platform.settings import PlatformSettings

if TYPE_CHECKING:
    from diabetes_platform.contract.bundle import Bundle
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.release_gate import GateResult
    from diabetes_platform.modelling.store import ModelStore, ModelVersion
    from diabetes_platform.modelling.training import Candidate
    from diabetes_platform.modelling.training_set import TrainingSet

CODE_VERSION = "2"
"""Raise it when training or judging changes: every candidate is then trained again."""
CHAMPION_ETAG = "champion_etag"
VERDICTS = "verdicts"
RULES = {
    "beats_baseline": "Better than the prevalence alone on held-out patients.",
    "reproducible": "Training again on the same rows gives the same bytes.",
}
"""What every candidate must keep: one that does not fails its run."""
COMPARISONS = {
    "beats_champion": "Better than the current champion on the same folds; one that is not is not "
    "released.",
    "beats_champion_on_newest_rows": "Better than the champion on the labelled rows that it has "
    "never learned from; 30 of them are needed. One that is not is not released.",
}
"""What a good candidate may lose: nothing is wrong then, and the champion stays."""
GATE = RULES | COMPARISONS


@dg.asset(
    **asset_options(CANDIDATE, {"lightgbm", "file"}, TRAINING_POOL, CODE_VERSION),
    automation_condition=FOLLOW,
    deps=[TRAINING_ROWS],
    description="A model trained on the training set, with honest metrics and its gate.",
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
    """Train and judge, unless this very input has met this very champion before."""
    from diabetes_platform.modelling.recipe import Recipe
    from diabetes_platform.modelling.training_set import TrainingSetError

    recipe = Recipe(seed=settings.model_seed)
    delta_version = int(remember(context, TRAINING_ROWS).recall("delta_version"))
    reigning = read_reigning(models.store())
    with refusals(TrainingSetError):
        rows = _training_rows(lake, delta_version)
        version = _training_input(rows, recipe)
        before = remember(context, CANDIDATE)
        if reigning is not None and _was_judged(before, version, reigning):
            context.log.info("Input and champion unchanged: not trained again")
            return _judged_before(before, reigning)
        return _train(context, rows, recipe, delta_version, version, reigning, lake, models)


@dataclass(frozen=True, slots=True)
class Reigning:
    """The champion at one moment: `etag` is what a release must still find."""

    model: "ModelVersion"
    etag: str

    @property
    def bundle(self) -> "Bundle":
        """What it was made of."""
        return self.model.bundle


def read_reigning(store: "ModelStore") -> Reigning | None:
    """Return the champion, None where nothing was released yet."""
    current = store.champion()
    return None if current is None else Reigning(store.read(current.champion), current.etag)


def _training_rows(lake: Lake, delta_version: int) -> "TrainingSet":
    from diabetes_platform.modelling.training_set import training_set_from_arrow

    return training_set_from_arrow(lake.table(TRAINING_SET).open(delta_version).to_pyarrow_table())


def _train(
    context: dg.AssetExecutionContext,
    rows: "TrainingSet",
    recipe: "Recipe",
    delta_version: int,
    version: str,
    reigning: Reigning | None,
    lake: Lake,
    models: Models,
) -> dg.MaterializeResult:
    from diabetes_platform.modelling.training import train_candidate

    trained = train_candidate(rows, recipe, delta_version=delta_version)
    models.store().put_version(trained.bundle, trained.files)
    verdicts = _judge(trained, rows, reigning, lake)
    context.log.info("Candidate %s trained on %s rows", trained.bundle.model_version, len(rows))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(trained.bundle.model_version),
        metadata={
            **candidate_metadata(trained, rows),
            INPUT_VERSION: version,
            VERDICTS: dg.MetadataValue.json(storable_verdicts(verdicts)),
            CHAMPION_ETAG: "" if reigning is None else reigning.etag,
        },
        check_results=[*_results(verdicts)],
    )


def _judge(
    trained: "Candidate", rows: "TrainingSet", reigning: Reigning | None, lake: Lake
) -> dict[str, "GateResult"]:
    """Hold what was trained on `rows` against each rule of GATE."""
    from diabetes_platform.modelling.release_gate import (
        evaluate_against_baseline,
        evaluate_against_champion,
        evaluate_on_new_rows,
        evaluate_reproducibility,
    )
    from diabetes_platform.modelling.training import is_reproducible

    champion = None if reigning is None else reigning.bundle
    known = _champion_rows(lake, champion)
    scored = (rows, trained.held_out, trained.bundle)
    return {
        "beats_baseline": evaluate_against_baseline(rows, trained.held_out),
        "beats_champion": evaluate_against_champion(
            *scored, champion=champion, champion_rows=known
        ),
        "beats_champion_on_newest_rows": evaluate_on_new_rows(
            *scored,
            champion=None if reigning is None else reigning.model,
            champion_rows=known,
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
    """Digest all that decides what training gives: rows, recipe, libraries, code, contract."""
    from diabetes_platform.modelling.recipe import recipe_to_json
    from diabetes_platform.modelling.training import library_versions

    parts = (CODE_VERSION, rows.content_hash, recipe_to_json(recipe), library_versions())
    return input_version("candidate", *parts)


def _was_judged(newest: Memory, version: str, reigning: Reigning) -> bool:
    """Whether the newest candidate came from this input and met the champion that reigns now."""
    if not newest.was_made_from(version):
        return False
    is_champion = newest.recall("model_version") == reigning.bundle.model_version
    return bool(is_champion or newest.recall(CHAMPION_ETAG) == reigning.etag)


def _judged_before(newest: Memory, reigning: Reigning) -> dg.MaterializeResult:
    """Report the newest candidate again, with the verdicts that it got."""
    verdicts = stored_verdicts(newest.recall(VERDICTS))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(str(newest.recall("model_version"))),
        metadata={**newest.metadata, "processed": False, CHAMPION_ETAG: reigning.etag},
        check_results=[*_results(verdicts)],
    )


def _champion_rows(lake: Lake, champion: "Bundle | None") -> "TrainingSet | None":
    """Return the rows that the champion was trained on; None where its contract is another."""
    if champion is None or champion.contract_fingerprint != fingerprint():
        return None
    return _training_rows(lake, int(champion.training["delta_version"]))
