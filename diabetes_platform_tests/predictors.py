"""Predictor processes for tests, their stored predictions and their consumer group."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ConsumerGroupDescription
from psycopg.rows import dict_row

from diabetes_platform.contract.topics import PREDICTOR_GROUP, SINK_TOPIC
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform.tls import tls
from diabetes_platform_tests.capture import TOOLS, Kafka, Service, retry_kafka
from diabetes_platform_tests.provisioned import ProvisionedServer
from diabetes_platform_tests.streaming.sink import Record
from diabetes_platform_tests.streaming.sink import send as send_to
from serving.app.served_model import ServedModel, open_model
from serving.tests.bundles import champion_of, make_bundle

PARTITIONS = 4
"""Partitions of the sink topic."""


def send(kafka: Kafka, records: Iterable[Record]) -> None:
    """Write records to the sink topic."""
    send_to(kafka, SINK_TOPIC, records)


@dataclass(frozen=True)
class Predictions:
    """The stored predictions, read as the owner of the database."""

    url: str

    def of(self, *intake_ids: int) -> list[dict[str, object]]:
        """Return the predictions of some patients, in the order of the changes."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(
                "SELECT * FROM serving.predictions WHERE intake_id = ANY(%s)"
                " ORDER BY intake_id, source_lsn, stored_at",
                (list(intake_ids),),
            ).fetchall()

    def changes(self, *intake_ids: int) -> list[tuple[object, object]]:
        """Return patient and LSN of each stored prediction."""
        return [(row["intake_id"], row["source_lsn"]) for row in self.of(*intake_ids)]


class Predictor(Service):
    """A predictor in the serving environment."""

    def __init__(
        self, kafka: Kafka, database_url: str, models: Path, log: Path, **settings: str
    ) -> None:
        self._port = free_port()
        variables = {
            "PLATFORM_KAFKA_SERVERS": kafka.bootstrap_servers,
            "PLATFORM_DATABASE_URL": database_url,
            "PLATFORM_MODELS_URL": str(models),
            "PLATFORM_MODEL_POLL_SECONDS": "0.1",
            "PLATFORM_PREDICTOR_PORT": str(self._port),
            "PYTHONPATH": str(PROJECT_ROOT),
            **settings,
        }
        python = str(HomeLayout(TOOLS).serving_python)
        super().__init__([python, "-m", "serving.predictor"], variables, log)

    def get(self, path: str) -> httpx.Response:
        address = f"http://{HOST}:{self._port}{path}"
        return httpx.get(address, verify=tls(), trust_env=False, timeout=30)

    def ready(self) -> bool:
        """Return whether the process is alive: a test may withhold what `/ready` waits for."""
        return self._succeeds("/health")

    def works(self) -> bool:
        """Return whether group, database and model are available."""
        return self._succeeds("/ready")

    def metric(self, sample: str, **labels: str) -> float:
        """Return the sum of the samples with these labels."""
        pattern = rf"^diabetes_predictor_{sample}(?:\{{(.*)\}})? (\S+)$"
        samples = re.finditer(pattern, self.get("/metrics").text, re.MULTILINE)
        required = {f'{name}="{value}"' for name, value in labels.items()}
        return sum(
            float(match[2]) for match in samples if required <= set((match[1] or "").split(","))
        )

    def terminate(self) -> int:
        """Send a stop signal; return the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(20)

    def partitions(self) -> int:
        """Return the number of partitions assigned to this predictor."""
        return int(self.get("/ready").json().get("partitions", 0))

    def _succeeds(self, path: str) -> bool:
        try:
            return self.get(path).is_success
        except httpx.TransportError:
            return False


class PredictorFactory:
    """Creates predictors of one broker and database, without starting them."""

    def __init__(
        self, broker: Kafka, database: ProvisionedServer, models: Path, directory: Path
    ) -> None:
        self._broker, self._database = broker, database
        self._models, self._directory = models, directory

    def __call__(self, name: str = "predictor", models: Path | None = None) -> Predictor:
        return Predictor(
            self._broker,
            self._database.url("predictor"),
            models or self._models,
            self._directory / f"{name}.log",
        )


def committed_offsets(broker: Kafka) -> list[int]:
    """Return the offsets that the predictors' group has committed."""
    options = {"bootstrap.servers": broker.bootstrap_servers, "group.id": PREDICTOR_GROUP}
    partitions = [TopicPartition(SINK_TOPIC, number) for number in range(PARTITIONS)]
    consumer = Consumer(options)
    try:
        committed = retry_kafka(lambda: consumer.committed(partitions, timeout=10))
        return [partition.offset for partition in committed]
    finally:
        consumer.close()


def assigned_partitions(broker: Kafka) -> int:
    """Return how many partitions are assigned to members of the predictors' group."""

    def describe() -> ConsumerGroupDescription:
        groups = broker.admin.describe_consumer_groups([PREDICTOR_GROUP], request_timeout=10)
        return groups[PREDICTOR_GROUP].result()

    return sum(len(member.assignment.topic_partitions) for member in retry_kafka(describe).members)


def open_test_model(intercept: float = 0.0) -> ServedModel:
    """Return a model of the tests, as the predictor opens it."""
    bundle, files = make_bundle(intercept=intercept)
    return open_model(champion_of(bundle), files)
