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
    STREAM_PATIENTS,
    STREAM_REJECTED,
    STREAM_WINDOWS,
    TRAINING_SET,
)
from diabetes_platform.contract.topics import REJECTED_TOPIC, SINK_TOPIC, WINDOWED_TOPIC
from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.log_repair import (
    REPAIRABLE,
    LogDamage,
    find_damage,
    offsets_before,
    set_aside,
)
from diabetes_platform.local.dagster.environment import enter_stack
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
TOPICS = {
    STREAM_PATIENTS.name: SINK_TOPIC,
    STREAM_REJECTED.name: REJECTED_TOPIC,
    STREAM_WINDOWS.name: WINDOWED_TOPIC,
}
MAX_RANGES = 10
"""The number of lost ranges that a message names."""


def check(settings: PlatformSettings, console: Console) -> None:
    """Check the log of every table; FailedError names the damaged ones."""
    settings = _in_use(settings)
    lake = Lake(settings.lake, settings.s3)
    damages = _damages(lake)
    if damages:
        hint = "`diabetes lake repair` sets damaged files of the stream's tables aside"
        raise FailedError(f"{'; '.join(map(str, damages))}: {hint}")
    console.print(f"no damage in the logs of {len(TABLES)} tables in {lake.root}")


def repair(settings: PlatformSettings, console: Console, *, accept_loss: bool = False) -> None:
    """Set damaged entries of the stream's tables aside; FailedError names what remains."""
    settings = _in_use(settings)
    lake = Lake(settings.lake, settings.s3)
    repair_lake(lake, settings.kafka_servers, console, accept_loss=accept_loss)


def repair_lake(
    lake: Lake, servers: str | None, console: Console, *, accept_loss: bool = False
) -> None:
    """Set damaged entries of the stream's tables aside; FailedError names what remains.

    Unless `accept_loss`, entries stay if Kafka at `servers` no longer has their messages. Raises
    PlatformError if the lake cannot be read or written, or if Kafka does not answer.
    """
    damages = _damages(lake)
    refusals: dict[str, str] = {}
    for damage in damages:
        if damage.obstacle is not None:
            continue
        loss = _loss(lake, damage, servers)
        if loss and not accept_loss:
            hint = "`--accept-loss` sets it aside nevertheless"
            refusals[damage.table.name] = f"{damage}; nothing was moved: {loss}. {hint}"
            continue
        try:
            version = set_aside(lake, damage)
        except (LakeError, StorageError, BaseError, OSError) as error:
            raise PlatformError(f"{damage}: {error}") from error
        text = f"{damage}: set aside; the table has version {version}, and the next ingest run "
        console.print(text + f"reads the missing rows from Kafka{'; ' if loss else ''}{loss}")
        for day in damage.rebuilt:
            console.print(f"{damage.table.name}: {day} had been rebuilt: materialize it again")
    if remaining := _damages(lake):
        texts = (refusals.get(damage.table.name, str(damage)) for damage in remaining)
        raise FailedError("; ".join(texts))
    if not damages:
        console.print(f"no damage in the logs of {len(TABLES)} tables in {lake.root}")


def _loss(lake: Lake, damage: LogDamage, servers: str | None) -> str:
    """Return which rows of the damaged and later entries cannot be read again; empty if all can."""
    if damage.version is None:
        return ""  # Only a checkpoint is damaged, and every entry stays.
    if servers is None:
        return "without Kafka, its messages cannot be read again: start the platform"
    from confluent_kafka import KafkaException

    from diabetes_platform.streaming.reread import missing_offsets
    from diabetes_platform.streaming.topic import OffsetsDeletedError, open_topic

    name = TOPICS[damage.table.name]
    try:
        with open_topic(name, servers) as topic:
            committed = offsets_before(lake, damage, name, topic.topic_id(), topic.watermarks())
            missing = missing_offsets(topic, committed, damage.offsets)
    except (OffsetsDeletedError, StorageError, LakeError) as error:
        raise PlatformError(str(error)) from error
    except KafkaException as error:
        raise PlatformError(f"Kafka at {servers}: {error.args[0].str()}") from error
    ranges = [offsets for values in missing.values() for offsets in values]
    if not ranges:
        return ""
    shown = ", ".join(map(str, ranges[:MAX_RANGES])) + ("…" if len(ranges) > MAX_RANGES else "")
    return f"Kafka no longer has {sum(map(len, ranges)):,} offsets of {name}: {shown}"


def _damages(lake: Lake) -> list[LogDamage]:
    try:
        damages = [find_damage(lake, table) for table in TABLES]
    except (StorageError, BaseError, OSError) as error:
        raise PlatformError(str(error)) from error
    return [damage for damage in damages if damage is not None]


def _in_use(settings: PlatformSettings) -> PlatformSettings:
    """Return the settings of the running platform, or those of the demo."""
    stack = running_stack(settings)
    if stack is None:
        return settings
    enter_stack(stack)
    return PlatformSettings()
