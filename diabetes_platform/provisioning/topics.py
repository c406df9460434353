"""Creation and configuration of Kafka's topics, as `infra/kafka/topics.yaml` declares them.

Topics that are not in that file stay unchanged.
"""

import sys
from collections.abc import Iterator, Mapping
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

from diabetes_platform.errors import PlatformError
from diabetes_platform.provisioning.command import run_setup
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, SetupSettings

TOPICS_FILE = PROJECT_ROOT / "infra" / "kafka" / "topics.yaml"
TIMEOUT = 30.0
"""Seconds for each request to the broker."""

Setting = Annotated[
    str, BeforeValidator(lambda value: value if isinstance(value, bool) else str(value))
]


class TopicConfig(BaseModel):
    """A topic: its number of partitions, and its settings by Kafka's names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: PositiveInt
    config: dict[str, Setting] = {}


Topics = Mapping[str, TopicConfig]
"""Topics by name; an existing topic's `config` has only settings that differ from the broker's."""


@dataclass(frozen=True, slots=True)
class TopicChanges:
    """The changes that bring existing topics to their declared state; falsy if there are none."""

    create: dict[str, TopicConfig] = field(default_factory=dict)
    add_partitions: dict[str, int] = field(default_factory=dict)
    """New total of partitions by topic."""
    alter_config: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """Settings by topic; None resets a setting to the broker's default."""

    def __bool__(self) -> bool:
        return bool(self.topics)

    @property
    def topics(self) -> list[str]:
        """The names of all topics that change, sorted."""
        return sorted({*self.create, *self.add_partitions, *self.alter_config})


def setup_topics(
    bootstrap_servers: str, file: Path = TOPICS_FILE, timeout: float = TIMEOUT
) -> TopicChanges:
    """Create and configure the topics of `file`, and return the applied changes.

    Idempotent. Each request may take `timeout` seconds. Raises PlatformError.
    """
    with _connected(bootstrap_servers) as admin:
        changes = _pending(admin, file, timeout)
        _apply(admin, changes, timeout)
    return changes


def pending_changes(bootstrap_servers: str) -> TopicChanges:
    """Return the changes that `setup_topics` would make, without making them."""
    with _connected(bootstrap_servers) as admin:
        return _pending(admin, TOPICS_FILE, TIMEOUT)


def read_topics(file: Path = TOPICS_FILE) -> Topics:
    """Return the topics of `file`; raises PlatformError if the file is invalid."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, TopicConfig]).validate_python(content)
    except (yaml.YAMLError, ValidationError) as error:
        raise PlatformError(f"{file}: {' '.join(str(error).split())}") from error


def plan_topics(declared: Topics, existing: Topics) -> TopicChanges:
    """Return the changes that turn `existing` into `declared`.

    A setting that only `existing` has is reset to the broker's default. Raises PlatformError if a
    topic has more partitions than declared.
    """
    changes = TopicChanges()
    for name, topic in declared.items():
        current = existing.get(name)
        if current is None:
            changes.create[name] = topic
            continue
        if current.partitions > topic.partitions:
            raise PlatformError(
                f"topic {name} has {current.partitions} partitions, {topic.partitions} are "
                "declared: Kafka cannot remove partitions; raise the number in "
                "infra/kafka/topics.yaml, or delete the topic with all its messages"
            )
        if current.partitions < topic.partitions:
            changes.add_partitions[name] = topic.partitions
        if current.config != topic.config:
            changes.alter_config[name] = {
                setting: topic.config.get(setting)
                for setting in sorted({*topic.config, *current.config})
                if topic.config.get(setting) != current.config.get(setting)
            }
    return changes


def _pending(admin: AdminClient, file: Path, timeout: float) -> TopicChanges:
    declared = read_topics(file)
    metadata = admin.list_topics(timeout=timeout).topics
    resources = [
        ConfigResource(ConfigResource.Type.TOPIC, name)
        for name in declared
        if name in metadata and metadata[name].error is None
    ]
    configs = admin.describe_configs(resources, request_timeout=timeout) if resources else {}
    existing = {
        resource.name: TopicConfig(
            partitions=len(metadata[resource.name].partitions),
            # The settings of the topic itself, without the broker's.
            config={
                name: str(entry.value)
                for name, entry in config.result().items()
                if ConfigSource(entry.source) == ConfigSource.DYNAMIC_TOPIC_CONFIG
            },
        )
        for resource, config in configs.items()
    }
    return plan_topics(declared, existing)


def _apply(admin: AdminClient, changes: TopicChanges, timeout: float) -> None:
    if changes.create:
        topics = [
            # -1 is the broker's default replication factor.
            NewTopic(name, topic.partitions, replication_factor=-1, config=topic.config)
            for name, topic in changes.create.items()
        ]
        _wait(admin.create_topics(topics, operation_timeout=timeout))
    if changes.add_partitions:
        totals = [NewPartitions(name, total) for name, total in changes.add_partitions.items()]
        _wait(admin.create_partitions(totals, operation_timeout=timeout))
    if changes.alter_config:
        resources = [_resource(name, config) for name, config in changes.alter_config.items()]
        _wait(admin.incremental_alter_configs(resources))


def _wait(futures: Mapping[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result()


def _resource(name: str, config: Mapping[str, str | None]) -> ConfigResource:
    entries = []
    for setting, value in config.items():
        operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entries.append(ConfigEntry(setting, value, incremental_operation=operation))
    return ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)


@contextmanager
def _connected(bootstrap_servers: str) -> Iterator[AdminClient]:
    """Yield an admin client; errors of the broker and timeouts become PlatformError."""
    kafka = f"Kafka at {bootstrap_servers}"
    try:
        with AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}) as admin:
            yield admin
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        if error.code() in _UNREACHABLE:
            raise PlatformError(f"{kafka} does not answer: see `diabetes logs kafka`") from failure
        raise PlatformError(f"{kafka} refused: {error.str()}") from failure


_UNREACHABLE = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 - their public names


def _setup(settings: PlatformSettings, _: SetupSettings) -> str:
    changed = ", ".join(setup_topics(settings.require("kafka_servers")).topics)
    return f"topics: {f'created or changed {changed}' if changed else 'up to date'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
