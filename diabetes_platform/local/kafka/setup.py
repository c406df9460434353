"""Creation and configuration of Kafka's topics, as `infra/kafka/topics.yaml` declares them.

Topics that are not in that file stay unchanged.
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
TIMEOUT = 30.0
"""Seconds for each request to the broker."""

Setting = Annotated[
    str, BeforeValidator(lambda value: value if isinstance(value, bool) else str(value))
]


class Topic(BaseModel):
    """A topic: its number of partitions, and its settings by Kafka's names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: PositiveInt
    config: dict[str, Setting] = {}


Topics = Mapping[str, Topic]
"""Topics by name; an existing topic's `config` has only settings that differ from the broker's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that bring existing topics to their declared state; falsy if there are none."""

    create: dict[str, Topic] = field(default_factory=dict)
    add_partitions: dict[str, int] = field(default_factory=dict)
    """New total of partitions by topic."""
    alter_config: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """Settings by topic; None resets a setting to the broker's default."""

    def __bool__(self) -> bool:
        return bool(self.create or self.add_partitions or self.alter_config)

    @property
    def topics(self) -> list[str]:
        """The names of all topics that change, sorted."""
        return sorted({*self.create, *self.add_partitions, *self.alter_config})


def setup_topics(
    bootstrap_servers: str, file: Path = TOPICS_FILE, timeout: float = TIMEOUT
) -> Plan:
    """Create and configure the topics of `file`, and return the applied changes.

    Idempotent. Each request may take `timeout` seconds. Raises PlatformError.
    """
    declared = read_topics(file)
    with _connected(bootstrap_servers) as admin:
        plan = plan_topics(declared, _existing(admin, declared, timeout))
        _apply(admin, plan, timeout)
    return plan


def pending_changes(
    bootstrap_servers: str, file: Path = TOPICS_FILE, timeout: float = TIMEOUT
) -> Plan:
    """Return the changes that `setup_topics` would make, without making them."""
    declared = read_topics(file)
    with _connected(bootstrap_servers) as admin:
        return plan_topics(declared, _existing(admin, declared, timeout))


def read_topics(file: Path = TOPICS_FILE) -> Topics:
    """Return the topics of `file`; raises PlatformError if the file is invalid."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, Topic]).validate_python(content)
    except (yaml.YAMLError, ValidationError) as error:
        raise PlatformError(f"{file}: {' '.join(str(error).split())}") from error


def plan_topics(declared: Topics, existing: Topics) -> Plan:
    """Return the changes that turn `existing` into `declared`.

    A setting that only `existing` has is reset to the broker's default. Raises PlatformError if a
    topic has more partitions than declared.
    """
    plan = Plan()
    for name, topic in declared.items():
        current = existing.get(name)
        if current is None:
            plan.create[name] = topic
            continue
        if current.partitions > topic.partitions:
            raise PlatformError(
                f"topic {name} has {current.partitions} partitions, {topic.partitions} are "
                "declared: Kafka cannot remove partitions; raise the number in "
                "infra/kafka/topics.yaml, or delete the topic with all its messages"
            )
        if current.partitions < topic.partitions:
            plan.add_partitions[name] = topic.partitions
        changes = _changes(topic.config, current.config)
        if changes:
            plan.alter_config[name] = changes
    return plan


def _changes(declared: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str | None]:
    names = sorted(declared.keys() | current.keys())
    return {name: declared.get(name) for name in names if declared.get(name) != current.get(name)}


def _existing(admin: AdminClient, names: Iterable[str], timeout: float) -> Topics:
    metadata = admin.list_topics(timeout=timeout).topics
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, name)
        for name in names
        if name in metadata and metadata[name].error is None
    ]
    if not resources:
        return {}
    configs = admin.describe_configs(resources, request_timeout=timeout)
    return {
        resource.name: Topic(
            partitions=len(metadata[resource.name].partitions),
            config=_topic_settings(config.result()),
        )
        for resource, config in configs.items()
    }


def _topic_settings(config: Mapping[str, ConfigEntry]) -> dict[str, str]:
    """Return the settings of the topic itself, without the broker's."""
    return {
        name: str(entry.value)
        for name, entry in config.items()
        if ConfigSource(entry.source) == ConfigSource.DYNAMIC_TOPIC_CONFIG
    }


def _apply(admin: AdminClient, plan: Plan, timeout: float) -> None:
    if plan.create:
        topics = [
            # -1 is the broker's default replication factor.
            NewTopic(name, topic.partitions, replication_factor=-1, config=topic.config)
            for name, topic in plan.create.items()
        ]
        _wait(admin.create_topics(topics, operation_timeout=timeout))
    if plan.add_partitions:
        totals = [NewPartitions(name, total) for name, total in plan.add_partitions.items()]
        _wait(admin.create_partitions(totals, operation_timeout=timeout))
    if plan.alter_config:
        resources = [_resource(name, changes) for name, changes in plan.alter_config.items()]
        _wait(admin.incremental_alter_configs(resources))


def _resource(name: str, changes: Mapping[str, str | None]) -> ConfigResource:
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


def _wait(futures: Mapping[Any, "Future[Any]"]) -> None:
    for future in futures.values():
        future.result()


@contextmanager
def _connected(bootstrap_servers: str) -> Iterator[AdminClient]:
    """Yield an admin client; errors of the broker and timeouts become PlatformError."""
    kafka = f"Kafka at {bootstrap_servers}"
    try:
        with AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}) as admin:
            yield admin
    except KafkaException as failure:
        error = failure.args[0]
        if isinstance(error, KafkaError) and error.code() in _UNREACHABLE:
            raise PlatformError(f"{kafka} does not answer: see `diabetes logs kafka`") from failure
        reason = error.str() if isinstance(error, KafkaError) else str(failure)
        raise PlatformError(f"{kafka} refused: {reason}") from failure


_UNREACHABLE = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 - their public names


def _setup(settings: PlatformSettings, _: SetupSettings) -> str:
    plan = setup_topics(f"{HOST}:{settings.port(Port.KAFKA)}")
    changed = ", ".join(plan.topics)
    return f"topics: {f'created or changed {changed}' if changed else 'up to date'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
