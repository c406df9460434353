"""A backlog of changes through the stream's job, and through two peers.

`python -m benchmarks flink [--events N --process-events N --rounds N]` needs the platform running
(`make up`); it uses topics of its own. One peer is the shortest job that writes the same images
and dead letters, which says what the machine can do; the other the same job with Python in a
process beside the TaskManager, on fewer events. No time is printed before every message has been
accounted for.
"""

import argparse
import os
import secrets
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.flink.events import Expected, backlog
from benchmarks.flink.results import verified
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.client import Client, cancel
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.stream_job.watcher import JOB
from diabetes_platform.local.home import Layout
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.ports import HOST
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment

AIM = 25_000
MINE = Path(__file__).parent
PATIENTS = 100_000
_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Way:
    """A job, and where its Python runs."""

    said: str
    job: Path
    mode: str


OURS = Way("the job, in the TaskManager's threads", JOB, "thread")
SHORTEST = Way("the shortest job, in the TaskManager's threads", MINE / "shortest.py", "thread")
PROCESS = Way("the job, in a process beside it", JOB, "process")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it runs, and the names of this run's topics."""

    servers: str
    cluster: FlinkCluster
    client: Client
    run: str

    def topic(self, kind: str) -> str:
        """Return the name of a topic of this run."""
        return f"bench.{self.run}.{kind}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    given = _parse(arguments)
    settings, environment = PlatformSettings(), inherited_environment()
    servers = f"{HOST}:{settings.port(Port.KAFKA)}"
    cluster = FlinkCluster(f"http://{HOST}:{settings.port(Port.FLINK)}")
    home = FlinkHome(Tools(Layout.of(settings).tools))
    client = Client(home, find_java(environment), environment)
    cluster.overview()
    events = {OURS: given.events, SHORTEST: given.events, PROCESS: given.process_events}
    ways = [way for way, number in events.items() if number]
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    load = os.getloadavg()[0]
    for turn in range(given.rounds):
        for way in ways if turn % 2 == 0 else ways[::-1]:
            bench = Bench(servers, cluster, client, secrets.token_hex(4))
            rate = _measure(bench, way, events[way])
            rates[way].append(rate)
            print(f"round {turn + 1}, {way.said}: {rate:,.0f} messages/s", file=sys.stderr)
    _print_table(rates, events, load)


def _measure(bench: Bench, way: Way, events: int) -> float:
    """Return messages a second, after every one of them was found where it belongs."""
    expected = Expected()
    with _topics(bench):
        _produce(bench, events, expected)
        name = f"bench-{bench.run}"
        arguments = ["--bootstrap-servers", bench.servers, "--bounded"]
        for kind in ("changes", "images", "rejected", "windowed"):
            arguments += [f"--{kind}", bench.topic(kind)]
        options = {
            "python.execution-mode": way.mode,
            "execution.checkpointing.dir": f"s3://checkpoints/{name}",
            "execution.checkpointing.externalized-checkpoint-retention": "DELETE_ON_CANCELLATION",
            "restart-strategy.type": "none",
        }
        bench.client.run(way.job, bench.cluster, name, arguments=arguments, **options)
        try:
            _wait_for_end(bench.cluster, name)
        except BaseException:
            cancel(bench.cluster, name)
            raise
        seconds = verified(bench.servers, bench.topic("images"), bench.topic("rejected"), expected)
    return expected.messages / seconds


def _wait_for_end(cluster: FlinkCluster, name: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        job = next(job for job in cluster.jobs() if job.name == name)
        if job.ended:
            if job.state != "FINISHED":
                raise PlatformError(f"{name} is {job.state}: {cluster.root_exception(job.id)}")
            return
        time.sleep(0.5)
    raise PlatformError(f"{name} has not ended after {_SECONDS:.0f} s")


@contextmanager
def _topics(bench: Bench) -> Iterator[None]:
    partitions = {"changes": 4, "images": 4, "rejected": 1, "windowed": 1}
    names = [bench.topic(kind) for kind in partitions]
    made = [NewTopic(bench.topic(kind), number) for kind, number in partitions.items()]
    with AdminClient({"bootstrap.servers": bench.servers}) as admin:
        for answer in admin.create_topics(made, operation_timeout=30).values():
            answer.result()
        try:
            yield
        finally:
            for answer in admin.delete_topics(names, operation_timeout=30).values():
                answer.result()


def _produce(bench: Bench, events: int, expected: Expected) -> None:
    options = {"linger.ms": 20, "batch.size": 500_000, "compression.type": "lz4"}
    producer = Producer(
        {
            "bootstrap.servers": bench.servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            **options,
        }
    )
    topic = bench.topic("changes")
    for number, (key, value) in enumerate(backlog(events, PATIENTS, expected)):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise PlatformError("Kafka does not take the backlog")


def _print_table(rates: dict[Way, list[float]], events: dict[Way, int], load: float) -> None:
    ours = statistics.median(rates[OURS])
    print(f"\n{os.cpu_count()} cores, load {load:.1f} before, {os.getloadavg()[0]:.1f} after.\n")
    print("| way | events | messages/s | the job is |")
    print("|---|---|---|---|")
    for way, found in rates.items():
        rate = statistics.median(found)
        print(f"| {way.said} | {events[way]:,} | {rate:,.0f} | {ours / rate:.2f} times |")
    print(f"\nMedians of the rounds. Aim: ≥ {AIM:,}: {'met' if ours >= AIM else 'missed'}.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks flink")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--process-events", type=int, default=100_000, help="0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
