"""The job `maintenance`: tables of the lake are kept quick, and history for as long as promised.

`raw/patients`, `labels/patients` and `features/training_set` are left alone: what was received, and
what a model was trained on, is kept for good.
"""

from collections.abc import Sequence

import dagster as dg

from diabetes_platform.contract.stream_tables import STREAM_REJECTED, STREAM_WINDOWS
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    STATISTICS_PATIENTS,
    STREAM_PATIENTS,
    Table,
)
from diabetes_platform.lake.delta import Lake, maintain
from diabetes_platform.orchestration.describe import (
    CLEANING_POOL,
    REJECTED_POOL,
    STREAM_POOL,
    WINDOWS_POOL,
)


def _maintained(context: dg.OpExecutionContext, lake: Lake, tables: Sequence[Table]) -> None:
    for table in tables:
        done = maintain(lake, table)
        if done is None:
            context.log.info("%s: there is no table yet", table.name)
            continue
        context.log.info(
            "%s: %s files made of %s, %s old ones removed, version %s",
            table.name,
            done.added,
            done.compacted,
            done.removed,
            done.version,
        )


@dg.op(pool=STREAM_POOL, description="Merge the small files of the increments.")
def maintain_stream(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain `stream/patients` while no increment is added."""
    _maintained(context, lake, [STREAM_PATIENTS])


@dg.op(pool=REJECTED_POOL, description="Merge the small files of the dead letters.")
def maintain_rejected(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain `stream/rejected` while no increment is added."""
    _maintained(context, lake, [STREAM_REJECTED])


@dg.op(pool=WINDOWS_POOL, description="Merge the small files of the windows.")
def maintain_windows(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain `stream/windows` while no increment is added."""
    _maintained(context, lake, [STREAM_WINDOWS])


@dg.op(pool=CLEANING_POOL, description="Remove the files of batches that were replaced long ago.")
def maintain_batch(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain the tables that each batch overwrites while none is cleaned."""
    _maintained(context, lake, [STATISTICS_PATIENTS, CLEANED_PATIENTS, QUARANTINE_PATIENTS])


@dg.job(
    description="Merges small files of the lake; removes those that no time travel needs.",
    tags={"platform/graph": "maintenance"},
    executor_def=dg.in_process_executor,
)
def maintenance() -> None:
    """Maintain the stream's tables and the batch's."""
    maintain_stream()
    maintain_rejected()
    maintain_windows()
    maintain_batch()


maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Daily, before the batch.",
)
