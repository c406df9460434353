"""The daily job `maintenance`: merges small files of the lake and removes expired ones.

`raw/patients`, `labels/patients` and `features/training_set` are not maintained: received data and
training data are kept forever.
"""

from collections.abc import Sequence

import dagster as dg

from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    STATISTICS_PATIENTS,
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    Table,
)
from diabetes_platform.lake.delta import Lake, maintain
from diabetes_platform.orchestration.describe import (
    CLEANING_POOL,
    REJECTED_POOL,
    STREAM_POOL,
    WINDOWS_POOL,
)


def _maintain(context: dg.OpExecutionContext, lake: Lake, tables: Sequence[Table]) -> None:
    for table in tables:
        result = maintain(lake, table)
        if result is None:
            context.log.info("%s: no table yet", table.name)
            continue
        context.log.info(
            "%s: %s files written from %s, %s expired files removed, version %s",
            table.name,
            result.added,
            result.compacted,
            result.removed,
            result.version,
        )


@dg.op(pool=STREAM_POOL, description="Merge the small files of the increments.")
def maintain_stream(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain `stream/patients` while no increment is added."""
    _maintain(context, lake, [STREAM_PATIENTS])


@dg.op(pool=REJECTED_POOL, description="Merge the small files of the dead letters.")
def maintain_rejected(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain `stream/rejected` while no increment is added."""
    _maintain(context, lake, [STREAM_REJECTED])


@dg.op(pool=WINDOWS_POOL, description="Merge the small files of the windows.")
def maintain_windows(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain `stream/windows` while no increment is added."""
    _maintain(context, lake, [STREAM_WINDOWS])


@dg.op(pool=CLEANING_POOL, description="Remove the files of replaced batches.")
def maintain_batch(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    """Maintain the tables that each batch overwrites, while no batch is being cleaned."""
    _maintain(context, lake, [STATISTICS_PATIENTS, CLEANED_PATIENTS, QUARANTINE_PATIENTS])


@dg.job(
    description="Merges small files of the lake and removes files that no time travel needs.",
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
