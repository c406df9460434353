"""What was served before put back, rows or model, and Dagster told of it."""

import dagster as dg
from rich.console import Console

from diabetes_platform.local.console import model_rollback_line, rollback_line
from diabetes_platform.local.errors import FailedError
from diabetes_platform.settings import PlatformSettings


def roll_back(warehouse_url: str, instance: dg.DagsterInstance, console: Console) -> None:
    """Put it back and say so; raises FailedError where there is none.

    Dagster then shows the version that is served and what was made from another.
    """
    from diabetes_platform.defs.batch.serving import rollback_event
    from diabetes_platform.warehouse import promotion

    try:
        restored = promotion.rollback(warehouse_url)
    except promotion.PromotionRefusedError as error:
        raise FailedError(str(error)) from error
    # First: it is served now, also where Dagster cannot be told.
    console.print(rollback_line(restored.version, restored.batch_id, restored.rows))
    instance.report_runless_asset_event(rollback_event(restored))


def roll_back_model(
    settings: PlatformSettings,
    instance: dg.DagsterInstance,
    console: Console,
    *,
    version: str | None,
    reason: str,
) -> None:
    """Release an earlier champion and withdraw this one; FailedError where there is none."""
    from diabetes_platform.contract.bundle import BundleError
    from diabetes_platform.contract.s3 import StorageError
    from diabetes_platform.defs.model.champion import put_back
    from diabetes_platform.modelling.release_gate import RollbackError
    from diabetes_platform.modelling.store import ModelStoreError
    from diabetes_platform.orchestration.resources import Models

    models = Models(settings.models, settings.s3)
    try:
        told = put_back(models, instance, version=version, reason=reason)
    except (RollbackError, ModelStoreError, BundleError, StorageError) as error:
        raise FailedError(str(error)) from error
    released, withdrawn = (str(told.metadata[n].value) for n in ("model_version", "previous"))
    console.print(model_rollback_line(released, withdrawn))
    instance.report_runless_asset_event(told)
