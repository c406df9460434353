"""`model/champion`: the released model, and the way back to the one before."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from diabetes_platform.defs.model.candidate import (
    CHAMPION_ETAG,
    COMPARISONS,
    VERDICTS,
    read_reigning,
)
from diabetes_platform.defs.model.metadata import metric_metadata, stored_verdicts
from diabetes_platform.defs.model.shadow import CHALLENGER, CHECK, PLAUSIBLE
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    CHAMPION,
    SHADOW,
    TRAINING_POOL,
    asset_options,
)
from diabetes_platform.orchestration.memory import DATA_VERSION_TAG, materializations, remember
from diabetes_platform.orchestration.refusals import refusals
from diabetes_platform.orchestration.resources import Models
from diabetes_platform.orchestration.retries import retried

if TYPE_CHECKING:
    from diabetes_platform.contract.bundle import Bundle
    from diabetes_platform.modelling.release_gate import GateResult


class Release(dg.Config):
    """A person's word beside the rules."""

    despite_shadow: bool = False
    """Release though the answers to live patients are far from the champion's."""


@dg.asset(
    **asset_options(CHAMPION, {"lightgbm", "file"}, TRAINING_POOL),
    automation_condition=FOLLOW,
    deps=[CANDIDATE, SHADOW],
    description="The released model: the pointer that every API worker follows.",
)
@retried
def champion(
    context: dg.AssetExecutionContext, config: Release, models: dg.ResourceParam[Models]
) -> dg.MaterializeResult:
    """Point at the candidate, if every rule of its gate passed: also in a run of its own.

    One that is no better than the champion is nothing to raise an alarm about: the champion stays.
    The pointer must still be the one that the candidate was judged against: a champion released
    since then was never compared with it, and the run fails.
    """
    from diabetes_platform.modelling.release_gate import decide_release
    from diabetes_platform.modelling.store import ReleaseConflictError

    store = models.store()
    newest = remember(context, CANDIDATE)
    judged = store.read_version(str(newest.recall("model_version")))
    reigning = read_reigning(store)
    before = None if reigning is None else reigning.bundle
    verdicts = stored_verdicts(newest.recall(VERDICTS))
    against = str(newest.recall(CHAMPION_ETAG))
    if not config.despite_shadow:
        verdicts[CHECK] = _shadow_verdict(context, judged.bundle.model_version, against)
    decision = decide_release(judged.bundle, before, verdicts, store.withdrawn())
    with refusals(ReleaseConflictError):
        if decision.release:
            store.release(judged.pointer, expected_etag=against or None)
        elif not all(verdicts[name].passed for name in verdicts.keys() - COMPARISONS.keys()):
            raise dg.Failure(decision.text, allow_retries=False)
    bundle = judged.bundle if decision.release or before is None else before
    return dg.MaterializeResult(
        data_version=dg.DataVersion(bundle.model_version),
        metadata=_metadata(bundle, before, released=decision.release, decision=decision.text),
    )


def _shadow_verdict(context: dg.AssetExecutionContext, version: str, etag: str) -> "GateResult":
    from diabetes_platform.modelling.release_gate import GateResult

    newest = remember(context, SHADOW)
    for name, allowed in ((CHALLENGER, version), (CHAMPION_ETAG, etag)):
        if (given := newest.recall(name)) != allowed:
            raise dg.Failure(
                f"{SHADOW.to_user_string()}: {name}: given {given or 'none'}, allowed that of "
                f"{CANDIDATE.to_user_string()}, {allowed or 'none'}: materialize both again",
                allow_retries=False,
            )
    passed = bool(newest.recall(PLAUSIBLE))
    return GateResult(passed=passed, text=CHECK)


def _metadata(
    bundle: "Bundle", before: "Bundle | None", *, released: bool, decision: str
) -> Mapping[str, Any]:
    return {
        "model_version": bundle.model_version,
        "previous": None if before is None else before.model_version,
        "released": released,
        "decision": decision,
        "training_rows": bundle.training["rows"],
        **metric_metadata(bundle),
    }


def put_back(
    models: Models, instance: dg.DagsterInstance, *, version: str | None, reason: str
) -> dg.AssetMaterialization:
    """Release an earlier champion, by default the newest before this one, and withdraw this one.

    No batch releases the withdrawn version again. Returns what Dagster is to be told. Raises
    RollbackError where there is no such version, ReleaseConflictError beside another release,
    BundleError for a version that is damaged, and StorageError.
    """
    from diabetes_platform.modelling.release_gate import rollback_target

    store = models.store()
    reigning = read_reigning(store)
    current = None if reigning is None else reigning.bundle.model_version
    chosen = rollback_target(_released(instance), current, store.withdrawn(), version)
    restored = store.read_version(chosen)
    # First: a batch that runs between the two must not find it worth a release.
    if current is not None:
        store.withdraw(current, reason)
    store.release(restored.pointer, expected_etag=None if reigning is None else reigning.etag)
    before = None if reigning is None else reigning.bundle
    said = f"put back in place of {current}: {reason}"
    return dg.AssetMaterialization(
        CHAMPION,
        description=said,
        metadata=_metadata(restored.bundle, before, released=True, decision=said),
        tags={DATA_VERSION_TAG: chosen},
    )


def _released(instance: dg.DagsterInstance) -> list[str]:
    """Return the champions of the past, newest first."""
    # Each batch says which champion it left: all are read, for one may have stayed for years.
    made = materializations(instance, CHAMPION)
    return [str(each.metadata["model_version"].value) for each in made]


class Rollback(dg.Config):
    """What a person decides who puts a model back."""

    reason: str
    """Why the champion must not stay; kept beside it for good."""
    version: str | None = None
    """A champion of the past; without one it is the one before."""


@dg.op(pool=TRAINING_POOL, description="Release an earlier champion and withdraw this one.")
def roll_back_model(
    context: dg.OpExecutionContext, config: Rollback, models: dg.ResourceParam[Models]
) -> None:
    """Put it back while no model is trained or released."""
    from diabetes_platform.modelling.release_gate import RollbackError
    from diabetes_platform.modelling.store import ReleaseConflictError

    with refusals(RollbackError, ReleaseConflictError):
        told = put_back(models, context.instance, version=config.version, reason=config.reason)
    context.log_event(told)


@dg.job(
    description="The champion of before put back, by a person who says why; see "
    "`diabetes rollback-model`.",
    executor_def=dg.in_process_executor,
    tags={"platform/graph": "rollback", "dagster/max_retries": "0"},
)
def model_rollback() -> None:
    """Put the model of before back."""
    roll_back_model()
