"""`diabetes lake check` and `diabetes lake repair`: damaged Delta logs."""

from obstore.exceptions import BaseError
from rich.console import Console

from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.contract.tables import (
    CLEANED_PATIENTS,
    LABELLED_PATIENTS,
    QUARANTINE_PATIENTS,
    RAW_PATIENTS,
    SHADOW_SCORES,
    STATISTICS_PATIENTS,
    TRAINING_SET,
)
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.log_repair import REPAIRABLE, LogDamage, find_damage, set_aside
from diabetes_platform.local.dagster.environment import enter_stack
from diabetes_platform.local.errors import FailedError, PlatformError
from diabetes_platform.local.stack import running_stack
from diabetes_platform.settings import PlatformSettings

TABLES = (
    RAW_PATIENTS,
    STATISTICS_PATIENTS,
    CLEANED_PATIENTS,
    QUARANTINE_PATIENTS,
    TRAINING_SET,
    LABELLED_PATIENTS,
    SHADOW_SCORES,
    *REPAIRABLE,
)


def check(settings: PlatformSettings, console: Console) -> None:
    """Check the log of every table; FailedError names the damaged ones."""
    lake = _lake(settings)
    damages = _damages(lake)
    if damages:
        hint = "`diabetes lake repair` sets damaged files of the stream's tables aside"
        raise FailedError(f"{'; '.join(map(str, damages))}: {hint}")
    console.print(f"no damage in the logs of {len(TABLES)} tables in {lake.root}")


def repair(settings: PlatformSettings, console: Console) -> None:
    """Set damaged entries of the stream's tables aside; FailedError names what remains."""
    repair_lake(_lake(settings), console)


def repair_lake(lake: Lake, console: Console) -> None:
    """Set damaged entries of the stream's tables aside; FailedError names what remains.

    Raises PlatformError if the lake cannot be read or written.
    """
    damages = _damages(lake)
    for damage in damages:
        if damage.obstacle is None:
            try:
                version = set_aside(lake, damage)
            except (LakeError, StorageError, BaseError, OSError) as error:
                raise PlatformError(f"{damage}: {error}") from error
            console.print(
                f"{damage}: set aside; the table has version {version}, and the next ingest run "
                "reads the missing rows from Kafka"
            )
    if remaining := _damages(lake):
        raise FailedError("; ".join(map(str, remaining)))
    if not damages:
        console.print(f"no damage in the logs of {len(TABLES)} tables in {lake.root}")


def _damages(lake: Lake) -> list[LogDamage]:
    try:
        damages = [find_damage(lake, table) for table in TABLES]
    except (StorageError, BaseError, OSError) as error:
        raise PlatformError(str(error)) from error
    return [damage for damage in damages if damage is not None]


def _lake(settings: PlatformSettings) -> Lake:
    """Return the lake of the running platform or of the demo."""
    stack = running_stack(settings)
    if stack is not None:
        enter_stack(stack)
        settings = PlatformSettings()
    return Lake(settings.lake, settings.s3)
