"""Kafka's topics: what is planned for which difference, and a real broker brought to it."""

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

from diabetes_platform.contract.events import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.kafka.setup import (
    Plan,
    Topic,
    Topics,
    pending_changes,
    plan_topics,
    read_topics,
    setup_topics,
)
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform_tests.capture import INFRA, Kafka, eventually

WEEK, DAY = "604800000", "86400000"
EVENTS = Topic(partitions=4, config={"retention.ms": WEEK, "cleanup.policy": "delete"})


def found(partitions: int = 4, **config: str) -> Topics:
    """The topic as a broker has it; a name's underscores are dots."""
    own = {name.replace("_", "."): value for name, value in config.items()}
    return {"events": Topic(partitions=partitions, config=own)}


@pytest.mark.parametrize(
    ("existing", "plan"),
    [
        ({}, Plan(create={"events": EVENTS})),
        (found(retention_ms=WEEK, cleanup_policy="delete"), Plan()),
        (
            found(2, retention_ms=WEEK, cleanup_policy="delete"),
            Plan(grow={"events": 4}),
        ),
        (
            found(retention_ms=DAY, cleanup_policy="delete"),
            Plan(alter={"events": {"retention.ms": WEEK}}),
        ),
        (
            found(retention_ms=WEEK),
            Plan(alter={"events": {"cleanup.policy": "delete"}}),
        ),
        (
            found(retention_ms=WEEK, cleanup_policy="delete", segment_ms=DAY),
            Plan(alter={"events": {"segment.ms": None}}),
        ),
        (
            {**found(retention_ms=WEEK, cleanup_policy="delete"), "mine": Topic(partitions=1)},
            Plan(),
        ),
    ],
    ids=["missing", "equal", "small", "altered", "lacks a setting", "has one more", "not ours"],
)
def test_a_difference_is_planned_away(existing: Topics, plan: Plan) -> None:
    assert plan_topics({"events": EVENTS}, existing) == plan
    assert bool(plan) == (plan != Plan())


def test_partitions_are_never_taken_away() -> None:
    with pytest.raises(PlatformError, match=r"topic events has 6 partitions, 4 are wanted: "):
        plan_topics({"events": EVENTS}, found(6))


def test_every_topic_of_the_contract_is_there_with_the_deadlines_of_its_kind() -> None:
    topics = read_topics()
    assert topics.keys() >= {CDC_TOPIC, SINK_TOPIC, REJECTED_TOPIC, WINDOWED_TOPIC}
    # The newest image of a patient is kept for ever, ranges of changes must have no holes.
    assert topics[SINK_TOPIC].config["cleanup.policy"] == "compact"
    assert topics[CDC_TOPIC].config["cleanup.policy"] == "delete"
    for name, topic in topics.items():
        limits = topic.config.keys() & {"retention.ms", "cleanup.policy"}
        assert limits == {"retention.ms", "cleanup.policy"} or topic.config[
            "cleanup.policy"
        ].startswith("compact"), name


def test_a_dead_letter_has_room_for_any_change_and_what_is_said_of_it() -> None:
    topics = read_topics()
    change, letter = (
        int(topics[name].config["max.message.bytes"]) for name in (CDC_TOPIC, REJECTED_TOPIC)
    )
    # Base64 of a change is four thirds of it.
    assert letter >= 2 * change


@pytest.mark.integration
@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "snappy", "zstd"])
def test_two_megabytes_are_refused_however_small_they_are_packed(
    kafka: Kafka, compression: str
) -> None:
    # The client itself would let 8 MB pass.
    given = {"message.max.bytes": 8_000_000, "batch.size": 100_000, "linger.ms": 0}
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "compression.type": compression, **given}
    )
    told: list[KafkaError | None] = []
    for size in (2_000_000, 250 * 1024):
        producer.produce(CDC_TOPIC, b"[" * size, on_delivery=lambda error, _: told.append(error))
        assert producer.flush(30) == 0
    refused, taken = told
    assert refused is not None
    assert refused.code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert taken is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("events: {partitions: 0}", "events.partitions"),
        ("events: {partitions: 1, retention: 1}", "events.retention"),
        ("events: {partitions: 1, config: {preallocate: true}}", "events.config.preallocate"),
        ("events: [", "line 1"),
        ("- events", "dictionary"),
    ],
)
def test_what_is_not_allowed_in_the_file_is_named_in_one_line(
    tmp_path: Path, content: str, told: str
) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(content)
    with pytest.raises(PlatformError) as refused:
        read_topics(file)
    assert str(file) in str(refused.value)
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_broker_that_does_not_answer_is_named() -> None:
    port = free_port()
    with pytest.raises(PlatformError, match=rf"Kafka at {HOST}:{port} does not answer"):
        setup_topics(f"{HOST}:{port}", seconds=1)


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
def test_the_broker_has_every_topic_as_the_file_says_and_the_next_time_nothing_is_done(
    kafka: Kafka,
) -> None:
    assert setup_topics(kafka.bootstrap_servers) == Plan()
    for name, topic in read_topics().items():
        assert topic.config.items() <= settings_of(kafka, name).items(), name
        assert has_partitions(kafka, name, topic.partitions)


@pytest.mark.integration
def test_what_was_altered_by_hand_is_put_back(kafka: Kafka) -> None:
    alter(kafka, CDC_TOPIC, retention_ms="1000", delete_retention_ms="1")
    # A broker tells of what was altered a moment after the controller has taken it.
    eventually(lambda: settings_of(kafka, CDC_TOPIC)["delete.retention.ms"] == "1")
    seen = pending_changes(kafka.bootstrap_servers)
    plan = setup_topics(kafka.bootstrap_servers)
    assert (
        seen == plan == Plan(alter={CDC_TOPIC: {"retention.ms": WEEK, "delete.retention.ms": None}})
    )
    eventually(lambda: settings_of(kafka, CDC_TOPIC)["delete.retention.ms"] == DAY)
    assert settings_of(kafka, CDC_TOPIC)["retention.ms"] == WEEK
    assert setup_topics(kafka.bootstrap_servers) == Plan()


def has_partitions(kafka: Kafka, topic: str, partitions: int) -> bool:
    return len(kafka.admin.list_topics(topic, timeout=10).topics[topic].partitions) == partitions


@pytest.mark.integration
def test_a_topic_grows_and_is_not_cut(kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    for partitions in (1, 3):
        file.write_text(yaml.safe_dump({"growing": {"partitions": partitions}}))
        assert setup_topics(kafka.bootstrap_servers, file)
        # A broker tells of new partitions a moment after it has made them.
        eventually(partial(has_partitions, kafka, "growing", partitions))
    file.write_text(yaml.safe_dump({"growing": {"partitions": 2}}))
    with pytest.raises(PlatformError, match="topic growing has 3 partitions, 2 are wanted"):
        setup_topics(kafka.bootstrap_servers, file)


@pytest.mark.integration
def test_a_setting_that_kafka_does_not_know_is_refused_by_its_name(
    kafka: Kafka, tmp_path: Path
) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text("misspelt: {partitions: 1, config: {retention.hours: 1}}")
    with pytest.raises(PlatformError, match=r"refused: .*retention\.hours"):
        setup_topics(kafka.bootstrap_servers, file)


def test_the_configuration_names_no_topic_that_the_file_lacks() -> None:
    worker = (INFRA / "connect" / "worker.properties").read_text()
    named = {line.partition("=")[2] for line in worker.splitlines() if ".storage.topic=" in line}
    assert len(named) == 3
    assert named <= read_topics().keys()
