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
    GRAPH_TAG,
    REJECTED_POOL,
    STREAM_POOL,
    WINDOWS_POOL,
)

_TABLES = {
    "maintain_stream": (STREAM_POOL, [STREAM_PATIENTS]),
    "maintain_rejected": (REJECTED_POOL, [STREAM_REJECTED]),
    "maintain_windows": (WINDOWS_POOL, [STREAM_WINDOWS]),
    "maintain_batch": (CLEANING_POOL, [STATISTICS_PATIENTS, CLEANED_PATIENTS, QUARANTINE_PATIENTS]),
}
"""The ops with their pools, so that no other run writes to the tables meanwhile."""


def _maintenance(name: str, pool: str, tables: Sequence[Table]) -> dg.OpDefinition:
    """Return the op that maintains `tables`."""
    description = (
        f"Merge small files and remove expired ones of {', '.join(table.name for table in tables)}."
    )

    @dg.op(name=name, pool=pool, description=description)
    def maintain_tables(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
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

    return maintain_tables


@dg.job(
    description="Merges small files of the lake and removes files that no time travel needs.",
    tags={GRAPH_TAG: "maintenance"},
    executor_def=dg.in_process_executor,
)
def maintenance() -> None:
    """Maintain the stream's tables and the batch's."""
    for name, (pool, tables) in _TABLES.items():
        _maintenance(name, pool, tables)()


maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Daily, before the batch.",
)
