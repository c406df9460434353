"""Kafka and Kafka Connect for tests, started with the supervisor's commands."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import httpx
import yaml
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import require_alive, spawn, stop_group
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.topics import setup_topics
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform.tls import tls
from diabetes_platform_tests.provisioned import ProvisionedServer

TOOLS = Path(sys.prefix).parents[1]
INFRA = PROJECT_ROOT / "infra"
READY_SECONDS = 120.0
T = TypeVar("T")


class Service:
    """A server that a test can kill and restart."""

    def __init__(self, command: list[str], variables: Mapping[str, str], log: Path) -> None:
        self.command, self.log = command, log
        self.environment = {"PATH": os.environ["PATH"], "MALLOC_ARENA_MAX": "2", **variables}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        self._process = spawn(
            self.command, log=self.log, environment=self.environment, directory=TOOLS
        )
        wait_until(self._alive_and_ready, timeout=READY_SECONDS, interval=0.05)

    def ready(self) -> bool:
        raise NotImplementedError

    def _alive_and_ready(self) -> bool:
        assert self._process is not None
        require_alive(self._process, type(self).__name__, self.log)
        return self.ready()

    def kill(self) -> None:
        """Kill the server."""
        self._stop(0)

    def stop(self) -> None:
        self._stop(20)

    def _stop(self, grace: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            stop_group(process, grace=grace)


class SupervisedService(Service):
    """A server that is started with the supervisor's command.

    `name` is that of its process and of its folder in `diabetes_platform/local`. Its log is in
    `home`.
    """

    def __init__(self, name: str, variables: Mapping[str, str], home: Path) -> None:
        file = PROJECT_ROOT / "diabetes_platform" / "local" / name / "processes.yaml"
        process = yaml.safe_load(file.read_text(encoding="utf-8"))["processes"][name]
        environment = {
            "PLATFORM_HOME": str(home),
            "ENV_DIR": str(home),
            "JAVA_HOME": str(find_java(os.environ).parents[1]),
            "PYTHON": sys.executable,
            "TOOLS": str(TOOLS),
            "INFRA": str(INFRA),
            **variables,
        }
        command = ["sh", "-c", process["command"].replace("$$", "$")]
        super().__init__(command, environment, home / "logs" / f"{name}.log")
        (home / f"{name}.env").touch()


class Kafka(SupervisedService):
    """A broker on free ports."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self._port, controller_port = data_dir, free_port(), free_port()
        variables = {
            "KAFKA_HOST": HOST,
            "KAFKA_PORT": str(self._port),
            "KAFKA_CONTROLLER_PORT": str(controller_port),
            "KAFKA_NODE_ID": "1",
            "KAFKA_VOTERS": f"1@{HOST}:{controller_port}",
            "KAFKA_REPLICAS": "1",
            "KAFKA_MIN_ISR": "1",
            "KAFKA_DATA": str(data_dir),
        }
        super().__init__("kafka", variables, data_dir.parent)

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self._port}"

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def _stop(self, grace: float) -> None:
        # A client that has requested groups blocks forever if it is closed after its broker.
        admin: AdminClient | None = self.__dict__.pop("admin", None)
        if admin is not None:
            admin.__exit__(None, None, None)
        super()._stop(grace)

    def ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self._port)) == 0

    def ends(self, topic: str) -> list[TopicPartition]:
        """Return the end offset of each partition."""
        with self._consumer() as consumer:
            return retry_kafka(lambda: _ends(consumer, topic))

    def messages(self, starts: list[TopicPartition], seconds: float = 30) -> Iterator[Message]:
        """Yield messages from the offsets `starts` on, until none arrives for `seconds`."""
        with self._consumer() as consumer:
            consumer.assign(starts)
            while (message := consumer.poll(seconds)) is not None:
                assert message.error() is None, message.error()
                yield message

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": "test",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()


def _ends(consumer: Consumer, topic: str) -> list[TopicPartition]:
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = [TopicPartition(topic, number) for number in partitions]
    for end in ends:
        end.offset = consumer.get_watermark_offsets(end, timeout=10)[1]
    return ends


class Connect(SupervisedService):
    """A Connect worker without connectors that can reach `kafka` and `database`."""

    def __init__(self, kafka: Kafka, database: ProvisionedServer, home: Path) -> None:
        self.kafka, self.database, self._port = kafka, database, free_port()
        variables = {
            "PLATFORM_KAFKA_SERVERS": kafka.bootstrap_servers,
            "CONNECT_HOST": HOST,
            "CONNECT_PORT": str(self._port),
            "POSTGRES_HOST": HOST,
            "POSTGRES_PORT": str(database.server.port),
            "DEBEZIUM_PASSWORD": database.passwords["debezium"],
        }
        super().__init__("connect", variables, home)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def database_url(self) -> str:
        """The URL of the warehouse for the connector's role."""
        return self.database.url("debezium")

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", verify=tls(), trust_env=False).is_success
        except httpx.TransportError:
            return False


@contextmanager
def running(service: Service) -> Iterator[None]:
    """Run a service during the block."""
    try:
        service.start()
        yield
    finally:
        service.stop()


@contextmanager
def own_kafka(directory: Path) -> Iterator[Kafka]:
    """Run a broker with the platform's topics."""
    kafka = Kafka(directory / "kafka")
    with running(kafka):
        setup_topics(kafka.bootstrap_servers)
        yield kafka


@contextmanager
def own_connect(kafka: Kafka, database: ProvisionedServer, directory: Path) -> Iterator[Connect]:
    """Run a Connect worker."""
    connect = Connect(kafka, database, directory)
    with running(connect):
        yield connect


def retry_kafka(request: Callable[[], T], seconds: float = 60) -> T:
    """Return the truthy result of a request that a starting broker rejects for a while."""
    return wait_until(request, timeout=seconds, retry_on=(KafkaException,))
