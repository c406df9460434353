"""`model/champion`: the released model, and its rollback."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from diabetes_platform.contract.bundle import Bundle
from diabetes_platform.contract.tables import SHADOW_SCORES
from diabetes_platform.defs.model.candidate import (
    CHAMPION_ETAG,
    COMPARISONS,
    metric_metadata,
    require_candidate,
)
from diabetes_platform.defs.model.shadow import CHALLENGER, CHECK, PLAUSIBLE
from diabetes_platform.lake.delta import Lake
from diabetes_platform.modelling.gate_result import Decision, GateResult
from diabetes_platform.modelling.release_gate import RollbackError, decide_release, rollback_target
from diabetes_platform.modelling.store import CandidateRecord, ReleaseConflictError
from diabetes_platform.orchestration.automation import FOLLOW
from diabetes_platform.orchestration.batch_state import require_commit
from diabetes_platform.orchestration.describe import (
    CANDIDATE,
    CHAMPION,
    DATA_VERSION_TAG,
    GRAPH_TAG,
    SHADOW,
    TRAINING_POOL,
    asset_options,
)
from diabetes_platform.orchestration.resources import Models
from diabetes_platform.orchestration.retries import non_retryable_errors, retried

_PAGE = 100


class Release(dg.Config):
    """Run config of a release."""

    despite_shadow: bool = False
    """Release the candidate even if its scores of live patients are far from the champion's."""


@dg.asset(
    **asset_options(CHAMPION, {"lightgbm", "file"}, TRAINING_POOL),
    automation_condition=FOLLOW,
    deps=[CANDIDATE, SHADOW],
    description="The released model: the pointer that every API worker follows.",
)
@retried
def champion(
    config: Release, lake: dg.ResourceParam[Lake], models: dg.ResourceParam[Models]
) -> dg.MaterializeResult:
    """Release the candidate if it passed every rule of its gate; this may also run on its own.

    A candidate that is no better than the champion is not released, and the run succeeds. The run
    fails if another champion was released after the candidate's evaluation.
    """
    store = models.store()
    record = require_candidate(store)
    candidate = store.read_version(record.model_version)
    current = store.current_version()
    previous = None if current is None else current.bundle
    verdicts = dict(record.verdicts)
    if not config.despite_shadow:
        verdicts[CHECK] = _shadow_verdict(lake, record)
    decision = decide_release(candidate.bundle, previous, verdicts, store.withdrawn())
    with non_retryable_errors(ReleaseConflictError):
        if decision.release:
            store.release(candidate.pointer, expected_etag=record.champion_etag or None)
        elif not all(verdicts[name].passed for name in verdicts.keys() - COMPARISONS.keys()):
            raise dg.Failure(decision.text, allow_retries=False)
    bundle = candidate.bundle if decision.release or previous is None else previous
    return dg.MaterializeResult(
        data_version=dg.DataVersion(bundle.model_version),
        metadata=_metadata(bundle, previous, decision),
    )


def _shadow_verdict(lake: Lake, record: CandidateRecord) -> GateResult:
    """Return the verdict of the shadow scores; dg.Failure if they are of other models."""
    metadata = require_commit(lake.table(SHADOW_SCORES)).metadata
    expected = {CHALLENGER: record.model_version, CHAMPION_ETAG: record.champion_etag}
    for name, value in expected.items():
        if (stored := metadata.get(name)) != value:
            raise dg.Failure(
                f"{SHADOW.to_user_string()}: {name} is {stored or 'none'}, but "
                f"{CANDIDATE.to_user_string()} has {value or 'none'}: materialize both again",
                allow_retries=False,
            )
    return GateResult(passed=metadata[PLAUSIBLE] == "true", text=CHECK)


def _metadata(bundle: Bundle, previous: Bundle | None, decision: Decision) -> dict[str, Any]:
    return {
        "model_version": bundle.model_version,
        "previous": None if previous is None else previous.model_version,
        "released": decision.release,
        "decision": decision.text,
        "training_rows": bundle.training["rows"],
        **metric_metadata(bundle),
    }


def roll_back(
    models: Models, instance: dg.DagsterInstance, *, version: str | None, reason: str
) -> dg.AssetMaterialization:
    """Release an earlier champion, by default the previous one, and withdraw the current one.

    No batch releases a withdrawn version again. Returns the event to report to Dagster. Raises
    RollbackError if there is no such version, ReleaseConflictError if another release came first,
    BundleError if the version is damaged, and StorageError.
    """
    store = models.store()
    current = store.current_version()
    withdrawn = None if current is None else current.bundle.model_version
    released = [*store.releases(), *releases_in_event_log(instance)]
    target = rollback_target(released, withdrawn, store.withdrawn(), version)
    restored = store.read_version(target)
    # Before the release: a batch that runs between the two must not release it again.
    if withdrawn is not None:
        store.withdraw(withdrawn, reason)
    store.release(restored.pointer, expected_etag=None if current is None else current.etag)
    previous = None if current is None else current.bundle
    decision = Decision(release=True, text=f"replaces {withdrawn}, which was withdrawn: {reason}")
    return dg.AssetMaterialization(
        CHAMPION,
        description=decision.text,
        metadata=_metadata(restored.bundle, previous, decision),
        tags={DATA_VERSION_TAG: target},
    )


def releases_in_event_log(instance: dg.DagsterInstance) -> Iterator[str]:
    """Yield the champions, newest first, that were released before the store recorded releases."""
    cursor = None
    while True:
        page = instance.fetch_materializations(CHAMPION, limit=_PAGE, cursor=cursor)
        for record in page.records:
            if (materialization := record.asset_materialization) is not None:
                yield str(materialization.metadata["model_version"].value)
        if not page.has_more:
            return
        cursor = page.cursor


class Rollback(dg.Config):
    """Run config of a rollback."""

    reason: str
    """Why the champion is withdrawn; the store keeps the reason."""
    version: str | None = None
    """An earlier champion; by default the previous one."""


@dg.op(pool=TRAINING_POOL, description="Release an earlier champion; withdraw the current one.")
def roll_back_model(
    context: dg.OpExecutionContext, config: Rollback, models: dg.ResourceParam[Models]
) -> None:
    """Roll back while no model is trained or released."""
    with non_retryable_errors(RollbackError, ReleaseConflictError):
        event = roll_back(models, context.instance, version=config.version, reason=config.reason)
    context.log_event(event)


@dg.job(
    description="Releases an earlier champion and withdraws the current one, for the reason in the "
    "run configuration; see `diabetes rollback-model`.",
    executor_def=dg.in_process_executor,
    tags={GRAPH_TAG: "rollback", "dagster/max_retries": "0"},
)
def model_rollback() -> None:
    """Roll back the model."""
    roll_back_model()
