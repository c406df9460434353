"""Set-up of Kafka's topics: the planned changes, and their effect on a real broker."""

from functools import partial
from pathlib import Path

import pytest
import yaml
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from diabetes_platform.contract.topics import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.topics import (
    TopicChanges,
    TopicConfig,
    Topics,
    pending_changes,
    plan_topics,
    read_topics,
    setup_topics,
)
from diabetes_platform_tests.capture import INFRA, Kafka

WEEK, DAY = "604800000", "86400000"
EVENTS = TopicConfig(partitions=4, config={"retention.ms": WEEK, "cleanup.policy": "delete"})


def existing_topic(partitions: int = 4, **config: str) -> Topics:
    """Return the topic `events` of a broker; underscores in setting names stand for dots."""
    settings = {name.replace("_", "."): value for name, value in config.items()}
    return {"events": TopicConfig(partitions=partitions, config=settings)}


@pytest.mark.parametrize(
    ("existing", "plan"),
    [
        ({}, TopicChanges(create={"events": EVENTS})),
        (existing_topic(retention_ms=WEEK, cleanup_policy="delete"), TopicChanges()),
        (
            existing_topic(2, retention_ms=WEEK, cleanup_policy="delete"),
            TopicChanges(add_partitions={"events": 4}),
        ),
        (
            existing_topic(retention_ms=DAY, cleanup_policy="delete"),
            TopicChanges(alter_config={"events": {"retention.ms": WEEK}}),
        ),
        (
            existing_topic(retention_ms=WEEK),
            TopicChanges(alter_config={"events": {"cleanup.policy": "delete"}}),
        ),
        (
            existing_topic(retention_ms=WEEK, cleanup_policy="delete", segment_ms=DAY),
            TopicChanges(alter_config={"events": {"segment.ms": None}}),
        ),
        (
            {
                **existing_topic(retention_ms=WEEK, cleanup_policy="delete"),
                "mine": TopicConfig(partitions=1),
            },
            TopicChanges(),
        ),
    ],
    ids=["missing", "equal", "too small", "altered", "setting missing", "setting added", "foreign"],
)
def test_plans_the_changes_of_a_topic(existing: Topics, plan: TopicChanges) -> None:
    assert plan_topics({"events": EVENTS}, existing) == plan
    assert bool(plan) == (plan != TopicChanges())


def test_rejects_fewer_partitions_than_the_topic_has() -> None:
    with pytest.raises(PlatformError, match=r"topic events has 6 partitions, 4 are declared: "):
        plan_topics({"events": EVENTS}, existing_topic(6))


def test_declares_every_topic_of_the_contract_with_its_retention() -> None:
    topics = read_topics()
    assert topics.keys() >= {CDC_TOPIC, SINK_TOPIC, REJECTED_TOPIC, WINDOWED_TOPIC}
    # The newest image of a patient is kept forever; ranges of changes must have no gaps.
    assert topics[SINK_TOPIC].config["cleanup.policy"] == "compact"
    assert topics[CDC_TOPIC].config["cleanup.policy"] == "delete"
    for name, topic in topics.items():
        limits = topic.config.keys() & {"retention.ms", "cleanup.policy"}
        assert limits == {"retention.ms", "cleanup.policy"} or topic.config[
            "cleanup.policy"
        ].startswith("compact"), name


def test_a_dead_letter_has_room_for_any_change_and_its_reason() -> None:
    topics = read_topics()
    change, letter = (
        int(topics[name].config["max.message.bytes"]) for name in (CDC_TOPIC, REJECTED_TOPIC)
    )
    # Base64 makes a change a third larger.
    assert letter >= 2 * change


@pytest.mark.integration
@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "snappy", "zstd"])
def test_rejects_two_megabytes_with_every_compression(kafka: Kafka, compression: str) -> None:
    # The client itself would let 8 MB pass.
    limits = {"message.max.bytes": 8_000_000, "batch.size": 100_000, "linger.ms": 0}
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "compression.type": compression, **limits}
    )
    errors: list[KafkaError | None] = []
    for size in (2_000_000, 250 * 1024):
        producer.produce(CDC_TOPIC, b"[" * size, on_delivery=lambda error, _: errors.append(error))
        assert producer.flush(30) == 0
    too_large, accepted = errors
    assert too_large is not None
    assert too_large.code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert accepted is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("events: {partitions: 0}", "events.partitions"),
        ("events: {partitions: 1, retention: 1}", "events.retention"),
        ("events: {partitions: 1, config: {preallocate: true}}", "events.config.preallocate"),
        ("events: [", "line 1"),
        ("- events", "dictionary"),
    ],
)
def test_rejects_an_invalid_file_with_one_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(content)
    with pytest.raises(PlatformError) as raised:
        read_topics(file)
    assert str(file) in str(raised.value)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_the_error_names_a_broker_that_does_not_answer() -> None:
    port = free_port()
    with pytest.raises(PlatformError, match=rf"Kafka at {HOST}:{port} does not answer"):
        setup_topics(f"{HOST}:{port}", timeout=1)


def settings_of(kafka: Kafka, topic: str) -> dict[str, str]:
    (answer,) = kafka.admin.describe_configs(
        [ConfigResource(ConfigResource.Type.TOPIC, topic)]
    ).values()
    return {name: str(entry.value) for name, entry in answer.result(30).items()}


def alter(kafka: Kafka, topic: str, **settings: str) -> None:
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    kafka.admin.incremental_alter_configs([resource])[resource].result(30)


@pytest.mark.integration
def test_a_second_set_up_changes_nothing(
    kafka: Kafka,
) -> None:
    assert setup_topics(kafka.bootstrap_servers) == TopicChanges()
    for name, topic in read_topics().items():
        assert topic.config.items() <= settings_of(kafka, name).items(), name
        assert has_partitions(kafka, name, topic.partitions)


@pytest.mark.integration
def test_restores_manually_altered_settings(kafka: Kafka) -> None:
    alter(kafka, CDC_TOPIC, retention_ms="1000", delete_retention_ms="1")
    # A broker reports altered settings a moment after the controller has applied them.
    wait_until(lambda: settings_of(kafka, CDC_TOPIC)["delete.retention.ms"] == "1", timeout=30)
    pending = pending_changes(kafka.bootstrap_servers)
    plan = setup_topics(kafka.bootstrap_servers)
    restored = {"retention.ms": WEEK, "delete.retention.ms": None}
    assert pending == plan == TopicChanges(alter_config={CDC_TOPIC: restored})
    wait_until(lambda: settings_of(kafka, CDC_TOPIC)["delete.retention.ms"] == DAY, timeout=30)
    assert settings_of(kafka, CDC_TOPIC)["retention.ms"] == WEEK
    assert setup_topics(kafka.bootstrap_servers) == TopicChanges()


def has_partitions(kafka: Kafka, topic: str, partitions: int) -> bool:
    return len(kafka.admin.list_topics(topic, timeout=10).topics[topic].partitions) == partitions


@pytest.mark.integration
def test_adds_partitions_and_rejects_fewer(kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    for partitions in (1, 3):
        file.write_text(yaml.safe_dump({"growing": {"partitions": partitions}}))
        assert setup_topics(kafka.bootstrap_servers, file)
        # A broker reports new partitions a moment after it has created them.
        wait_until(partial(has_partitions, kafka, "growing", partitions), timeout=30)
    file.write_text(yaml.safe_dump({"growing": {"partitions": 2}}))
    with pytest.raises(PlatformError, match="topic growing has 3 partitions, 2 are declared"):
        setup_topics(kafka.bootstrap_servers, file)


@pytest.mark.integration
def test_the_error_names_an_unknown_setting(kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text("misspelt: {partitions: 1, config: {retention.hours: 1}}")
    with pytest.raises(PlatformError, match=r"refused: .*retention\.hours"):
        setup_topics(kafka.bootstrap_servers, file)


@pytest.mark.integration
def test_changes_no_topic_if_another_one_cannot_be_created(kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text("unchanged: {partitions: 1}")
    setup_topics(kafka.bootstrap_servers, file)
    wait_until(lambda: has_partitions(kafka, "unchanged", 1), timeout=30)
    larger = "unchanged: {partitions: 2}\n"
    file.write_text(f"{larger}misspelt: {{partitions: 1, config: {{retention.hours: 1}}}}")
    with pytest.raises(PlatformError, match=r"refused: .*retention\.hours"):
        setup_topics(kafka.bootstrap_servers, file)
    file.write_text(larger)
    changes = setup_topics(kafka.bootstrap_servers, file)
    assert changes == TopicChanges(add_partitions={"unchanged": 2})


def test_declares_the_topics_in_the_configuration_of_connect() -> None:
    worker = (INFRA / "connect" / "worker.properties").read_text()
    topics = {line.partition("=")[2] for line in worker.splitlines() if ".storage.topic=" in line}
    assert len(topics) == 3
    assert topics <= read_topics().keys()
