"""`diabetes rollback` and `diabetes rollback-model`: serve an earlier batch or an earlier model."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from rich.console import Console

from diabetes_platform.errors import FailedError
from diabetes_platform.local.console import model_rollback_line, rollback_line
from diabetes_platform.local.dagster.batch import require_no_running_batch
from diabetes_platform.local.dagster.environment import enter_platform
from diabetes_platform.local.dagster.instance import open_instance
from diabetes_platform.local.locks import lock_batch
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PlatformSettings


def rollback(settings: PlatformSettings, console: Console) -> None:
    """Serve the previous version of serving.patients; FailedError if none exists."""
    with _exclusive_instance(settings) as instance:
        # Libraries read the platform's environment when they are imported.
        from diabetes_platform.defs.batch.serving import rollback_event
        from diabetes_platform.orchestration.resources import warehouse_of
        from diabetes_platform.warehouse import promotion

        try:
            restored = promotion.rollback(warehouse_of(PlatformSettings()).url)
        except promotion.PromotionError as error:
            raise FailedError(str(error)) from error
        # Printed before Dagster is called: the version is served even if Dagster fails.
        console.print(rollback_line(restored.version, restored.batch_id, restored.rows))
        instance.report_runless_asset_event(rollback_event(restored))


def rollback_model(
    settings: PlatformSettings, console: Console, *, version: str | None, reason: str
) -> None:
    """Release an earlier model and withdraw the champion; FailedError if none exists."""
    with _exclusive_instance(settings) as instance:
        roll_back_model(PlatformSettings(), instance, console, version=version, reason=reason)


def roll_back_model(
    settings: PlatformSettings,
    instance: dg.DagsterInstance,
    console: Console,
    *,
    version: str | None,
    reason: str,
) -> None:
    """Release an earlier champion, record it in Dagster; FailedError if none exists."""
    from diabetes_platform.contract.bundle import BundleError
    from diabetes_platform.contract.s3 import StorageError
    from diabetes_platform.defs.model.champion import roll_back
    from diabetes_platform.modelling.release_gate import RollbackError
    from diabetes_platform.modelling.store import ModelStoreError
    from diabetes_platform.orchestration.resources import Models

    models = Models(settings.models, settings.s3)
    try:
        event = roll_back(models, instance, version=version, reason=reason)
    except (RollbackError, ModelStoreError, BundleError, StorageError) as error:
        raise FailedError(str(error)) from error
    released, withdrawn = (str(event.metadata[n].value) for n in ("model_version", "previous"))
    console.print(model_rollback_line(released, withdrawn))
    instance.report_runless_asset_event(event)


@contextmanager
def _exclusive_instance(settings: PlatformSettings) -> Iterator[dg.DagsterInstance]:
    """Yield the Dagster instance; no batch runs within the block. PlatformError if one does."""
    with (
        enter_platform(settings) as platform,
        lock_batch(platform.layout),
        open_instance() as instance,
    ):
        if isinstance(platform, Stack):
            require_no_running_batch(instance, platform.settings)
        yield instance
