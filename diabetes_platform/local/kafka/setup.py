"""Sets up Kafka's topics: those of `infra/kafka/topics.yaml`, each with its settings.

Topics that are not in that file are left alone.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
)
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.setup import run_setup
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, Port, SetupSettings

TOPICS_FILE = PROJECT_ROOT / "infra" / "kafka" / "topics.yaml"
SECONDS = 30.0

Setting = Annotated[
    str, BeforeValidator(lambda given: given if isinstance(given, bool) else str(given))
]


class Topic(BaseModel):
    """A topic as it should be: its partitions, and its settings by Kafka's names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: PositiveInt
    config: dict[str, Setting] = {}


Topics = Mapping[str, Topic]
"""Topics by name. Of those that exist, `config` has what differs from the broker's defaults."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes the existing topics those that are wanted; nothing where they are."""

    create: dict[str, Topic] = field(default_factory=dict)
    grow: dict[str, int] = field(default_factory=dict)
    """Partitions by topic."""
    alter: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """Settings by topic; None is the broker's default."""

    def __bool__(self) -> bool:
        return bool(self.create or self.grow or self.alter)


def setup_topics(
    bootstrap_servers: str, file: Path = TOPICS_FILE, seconds: float = SECONDS
) -> Plan:
    """Bring the broker's topics to what `file` says, and return what had to be done.

    Doing it again does nothing. Each request may take `seconds`. Raises PlatformError.
    """
    wanted = read_topics(file)
    with _connected(bootstrap_servers) as admin:
        plan = plan_topics(wanted, _existing(admin, wanted, seconds))
        _apply(admin, plan, seconds)
    return plan


def pending_changes(
    bootstrap_servers: str, file: Path = TOPICS_FILE, seconds: float = SECONDS
) -> Plan:
    """Return what `setup_topics` would have to do now; nothing is changed."""
    wanted = read_topics(file)
    with _connected(bootstrap_servers) as admin:
        return plan_topics(wanted, _existing(admin, wanted, seconds))


def read_topics(file: Path = TOPICS_FILE) -> Topics:
    """Return the topics of `file`; PlatformError names what is not allowed in it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Topic]).validate_python(content)
    except (yaml.YAMLError, ValidationError) as error:
        raise PlatformError(f"{file}: {' '.join(str(error).split())}") from error


def plan_topics(wanted: Topics, existing: Topics) -> Plan:
    """Return what turns `existing` into `wanted`; PlatformError where partitions are too many.

    A setting that stands in `existing` only was made by hand and goes back to the default.
    """
    plan = Plan()
    for name, topic in wanted.items():
        found = existing.get(name)
        if found is None:
            plan.create[name] = topic
            continue
        if found.partitions > topic.partitions:
            raise PlatformError(
                f"topic {name} has {found.partitions} partitions, {topic.partitions} are wanted: "
                "Kafka cannot take partitions away; raise the number in infra/kafka/topics.yaml, "
                "or delete the topic with all its messages"
            )
        if found.partitions < topic.partitions:
            plan.grow[name] = topic.partitions
        changes = _changes(topic.config, found.config)
        if changes:
            plan.alter[name] = changes
    return plan


def _changes(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str | None]:
    names = sorted(wanted.keys() | found.keys())
    return {name: wanted.get(name) for name in names if wanted.get(name) != found.get(name)}


def _existing(admin: AdminClient, names: Iterable[str], seconds: float) -> Topics:
    known = admin.list_topics(timeout=seconds).topics
    there = [name for name in names if name in known and known[name].error is None]
    if not there:
        return {}
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in there]
    answers = admin.describe_configs(asked, request_timeout=seconds)
    return {
        resource.name: Topic(
            partitions=len(known[resource.name].partitions), config=_own(answer.result())
        )
        for resource, answer in answers.items()
    }


def _own(config: Mapping[str, ConfigEntry]) -> dict[str, str]:
    """Return what was set for this topic alone."""
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG
    return {n: str(entry.value) for n, entry in config.items() if ConfigSource(entry.source) == own}


def _apply(admin: AdminClient, plan: Plan, seconds: float) -> None:
    if plan.create:
        made = [
            # -1: as many copies as the broker makes by default.
            NewTopic(name, topic.partitions, replication_factor=-1, config=topic.config)
            for name, topic in plan.create.items()
        ]
        _wait(admin.create_topics(made, operation_timeout=seconds))
    if plan.grow:
        grown = [NewPartitions(name, partitions) for name, partitions in plan.grow.items()]
        _wait(admin.create_partitions(grown, operation_timeout=seconds))
    if plan.alter:
        _wait(admin.incremental_alter_configs([_altered(*each) for each in plan.alter.items()]))


def _altered(name: str, changes: Mapping[str, str | None]) -> ConfigResource:
    entries = [
        ConfigEntry(
            setting,
            value,
            incremental_operation=(
                AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
            ),
        )
        for setting, value in changes.items()
    ]
    return ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)


def _wait(answers: Mapping[Any, "Future[Any]"]) -> None:
    for answer in answers.values():
        answer.result()


@contextmanager
def _connected(bootstrap_servers: str) -> Iterator[AdminClient]:
    """Yield a client; what the broker refuses or does not answer becomes PlatformError."""
    where = f"Kafka at {bootstrap_servers}"
    try:
        with AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}) as admin:
            yield admin
    except KafkaException as failure:
        error = failure.args[0]
        if isinstance(error, KafkaError) and error.code() in _UNREACHABLE:
            raise PlatformError(f"{where} does not answer: see `diabetes logs kafka`") from failure
        reason = error.str() if isinstance(error, KafkaError) else str(failure)
        raise PlatformError(f"{where} refused: {reason}") from failure


_UNREACHABLE = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 - their public names


def _setup(settings: PlatformSettings, _given: SetupSettings) -> str:
    plan = setup_topics(f"{HOST}:{settings.port(Port.KAFKA)}")
    changed = ", ".join(sorted({*plan.create, *plan.grow, *plan.alter}))
    return f"topics: {f'made or changed {changed}' if changed else 'as they should be'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
