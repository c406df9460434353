"""The test run's own predictor."""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ConsumerGroupDescription
from psycopg.rows import dict_row

from diabetes_platform.contract.events import PREDICTOR_GROUP, SINK_TOPIC
from diabetes_platform.contract.fields import fingerprint
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


def send(kafka: Kafka, records: Iterable[Record]) -> None:
    """Put records into the sink topic."""
    send_to(kafka, SINK_TOPIC, records)


@dataclass(frozen=True)
class Predictions:
    """The stored predictions as the owner of the database sees them."""

    url: str

    def of(self, *intake_ids: int) -> list[dict[str, object]]:
        """Those of some patients, in the order of the changes."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(
                "SELECT * FROM serving.predictions WHERE intake_id = ANY(%s)"
                " ORDER BY intake_id, source_lsn, stored_at",
                (list(intake_ids),),
            ).fetchall()

    def changes(self, *intake_ids: int) -> list[tuple[object, object]]:
        """Patient and lsn of each stored prediction."""
        return [(row["intake_id"], row["source_lsn"]) for row in self.of(*intake_ids)]


class Predictor(Service):
    """A predictor in its own environment."""

    def __init__(
        self, kafka: Kafka, database_url: str, models: Path, log: Path, **more: str
    ) -> None:
        self._port = free_port()
        variables = {
            "PLATFORM_KAFKA_SERVERS": kafka.bootstrap_servers,
            "PLATFORM_DATABASE_URL": database_url,
            "PLATFORM_MODELS_URL": str(models),
            "PLATFORM_MODEL_POLL_SECONDS": "0.1",
            "PLATFORM_PREDICTOR_PORT": str(self._port),
            "PYTHONPATH": str(PROJECT_ROOT),
            **more,
        }
        python = str(HomeLayout(TOOLS).serving_python)
        super().__init__([python, "-m", "serving.predictor"], variables, log)

    def get(self, path: str) -> httpx.Response:
        address = f"http://{HOST}:{self._port}{path}"
        return httpx.get(address, verify=tls(), trust_env=False, timeout=30)

    def ready(self) -> bool:
        """Whether it is alive: what it waits for may be what the test withholds."""
        return self._answers("/health")

    def works(self) -> bool:
        return self._answers("/ready")

    def metric(self, sample: str, **labels: str) -> float:
        """The sum of the samples with these labels."""
        pattern = rf"^diabetes_predictor_{sample}(?:\{{(.*)\}})? (\S+)$"
        found = re.finditer(pattern, self.get("/metrics").text, re.MULTILINE)
        wanted = {f'{name}="{value}"' for name, value in labels.items()}
        return sum(float(one[2]) for one in found if wanted <= set((one[1] or "").split(",")))

    def end(self) -> int:
        """Ask it to end; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(20)

    def partitions(self) -> int:
        return int(self.get("/ready").json().get("partitions", 0))

    def _answers(self, path: str) -> bool:
        try:
            return self.get(path).is_success
        except httpx.TransportError:
            return False


def wait_for(happens: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it happens, looking often."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class Make:
    """Predictors of a test, not yet started."""

    def __init__(
        self, broker: Kafka, database: ProvisionedServer, models: Path, folder: Path
    ) -> None:
        self._parts, self._models, self._folder = (broker, database), models, folder

    def __call__(self, name: str = "predictor", models: Path | None = None) -> Predictor:
        broker, database = self._parts
        return Predictor(
            broker,
            database.url("predictor"),
            models or self._models,
            self._folder / f"{name}.log",
        )


def committed(broker: Kafka) -> list[int]:
    """The offsets of the predictors' group."""
    options = {"bootstrap.servers": broker.bootstrap_servers, "group.id": PREDICTOR_GROUP}
    places = [TopicPartition(SINK_TOPIC, number) for number in range(4)]
    consumer = Consumer(options)
    try:
        found = retry_kafka(lambda: consumer.committed(places, timeout=10))
        return [place.offset for place in found]
    finally:
        consumer.close()


def given(broker: Kafka) -> int:
    """How many partitions the broker has given to the members of the predictors' group."""

    def ask() -> ConsumerGroupDescription:
        asked = broker.admin.describe_consumer_groups([PREDICTOR_GROUP], request_timeout=10)
        return asked[PREDICTOR_GROUP].result()

    return sum(len(member.assignment.topic_partitions) for member in retry_kafka(ask).members)


def opened(intercept: float = 0.0) -> ServedModel:
    """A model of the tests, as the predictor opens it."""
    bundle, files = make_bundle(intercept=intercept)
    return open_model(champion_of(bundle), files, contract_fingerprint=fingerprint())
