"""The previous version of serving.patients put back, and Dagster told of it."""

import dagster as dg
from rich.console import Console

from diabetes_platform.launcher.errors import FailedError
from diabetes_platform.launcher.progress import rollback_line


def roll_back(warehouse_url: str, instance: dg.DagsterInstance, console: Console) -> None:
    """Put it back and say so; raises FailedError where there is none.

    Dagster then shows the version that is served and what was made from another.
    """
    from diabetes_platform.defs.serving_table import rollback_event
    from diabetes_platform.warehouse import promotion

    try:
        restored = promotion.rollback(warehouse_url)
    except promotion.PromotionRefusedError as error:
        raise FailedError(str(error)) from error
    # First: it is served now, also where Dagster cannot be told.
    console.print(rollback_line(restored.version, restored.batch_id, restored.rows))
    instance.report_runless_asset_event(rollback_event(restored))
