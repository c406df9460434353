"""A backlog of changes through the stream job and two peers.

`python -m benchmarks flink [--events N --process-events N --rounds N]` needs the platform running
(`make up`) and creates its own topics. One peer is the shortest job that writes the same images and
dead letters, which shows what the machine can do. The other is the same job with Python in a
process beside the TaskManager, on fewer events. A time is printed only after a check of the
complete output.
"""

import argparse
import os
import secrets
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.flink.events import Expected, backlog
from benchmarks.flink.results import verified
from diabetes_platform.clients.flink import FlinkCluster, Job
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink.client import Client, cancel
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.stream_job import JOB
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.ports import HOST
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment

TARGET = 25_000
FOLDER = Path(__file__).parent
PATIENTS = 100_000
_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A job, and the execution mode of its Python code."""

    label: str
    job: Path
    mode: str


OURS = Variant("the job, in the TaskManager's threads", JOB, "thread")
SHORTEST = Variant(
    "the shortest job, in the TaskManager's threads", FOLDER / "shortest.py", "thread"
)
PROCESS = Variant("the job, in a process beside it", JOB, "process")


@dataclass(frozen=True, slots=True)
class Bench:
    """The services of a run, and the names of its topics."""

    servers: str
    cluster: FlinkCluster
    client: Client
    run: str

    def topic(self, kind: str) -> str:
        """Return the name of a topic of this run."""
        return f"bench.{self.run}.{kind}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a Markdown table."""
    options = _parse(arguments)
    settings, environment = PlatformSettings(), inherited_environment()
    servers = f"{HOST}:{settings.port(Port.KAFKA)}"
    cluster = FlinkCluster(f"http://{HOST}:{settings.port(Port.FLINK)}")
    home = FlinkHome(Tools(HomeLayout.of(settings).tools))
    client = Client(home, find_java(environment), environment)
    cluster.overview()
    events = {OURS: options.events, SHORTEST: options.events, PROCESS: options.process_events}
    variants = [variant for variant, number in events.items() if number]
    rates: dict[Variant, list[float]] = {variant: [] for variant in variants}
    load = os.getloadavg()[0]
    for turn in range(options.rounds):
        for variant in variants if turn % 2 == 0 else variants[::-1]:
            bench = Bench(servers, cluster, client, secrets.token_hex(4))
            rate = _measure(bench, variant, events[variant])
            rates[variant].append(rate)
            print(f"round {turn + 1}, {variant.label}: {rate:,.0f} messages/s", file=sys.stderr)
    _print_table(rates, events, load)


def _measure(bench: Bench, variant: Variant, events: int) -> float:
    """Return messages a second, after a check of the complete output."""
    expected = Expected()
    with _topics(bench):
        _produce(bench, events, expected)
        name = f"bench-{bench.run}"
        arguments = ["--bootstrap-servers", bench.servers, "--bounded"]
        for kind in ("changes", "images", "rejected", "windowed"):
            arguments += [f"--{kind}", bench.topic(kind)]
        options = {
            "python.execution-mode": variant.mode,
            "execution.checkpointing.dir": f"s3://checkpoints/{name}",
            "execution.checkpointing.externalized-checkpoint-retention": "DELETE_ON_CANCELLATION",
            "restart-strategy.type": "none",
        }
        bench.client.run(variant.job, bench.cluster, name, arguments=arguments, **options)
        try:
            _wait_for_end(bench.cluster, name)
        except BaseException:
            cancel(bench.cluster, name)
            raise
        seconds = verified(bench.servers, bench.topic("images"), bench.topic("rejected"), expected)
    return expected.messages / seconds


def _wait_for_end(cluster: FlinkCluster, name: str) -> None:
    def find_job() -> Job:
        return next(job for job in cluster.jobs() if job.name == name)

    wait_until(lambda: find_job().ended, timeout=_SECONDS, interval=0.5)
    job = find_job()
    if job.state != "FINISHED":
        raise PlatformError(f"{name} is {job.state}: {cluster.root_exception(job.id)}")


@contextmanager
def _topics(bench: Bench) -> Iterator[None]:
    partitions = {"changes": 4, "images": 4, "rejected": 1, "windowed": 1}
    names = [bench.topic(kind) for kind in partitions]
    topics = [NewTopic(bench.topic(kind), number) for kind, number in partitions.items()]
    with AdminClient({"bootstrap.servers": bench.servers}) as admin:
        for future in admin.create_topics(topics, operation_timeout=30).values():
            future.result()
        try:
            yield
        finally:
            for future in admin.delete_topics(names, operation_timeout=30).values():
                future.result()


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


def _print_table(
    rates: dict[Variant, list[float]], events: dict[Variant, int], load: float
) -> None:
    ours = statistics.median(rates[OURS])
    print(f"\n{os.cpu_count()} cores, load {load:.1f} before, {os.getloadavg()[0]:.1f} after.\n")
    print("| job | events | messages/s | the job is |")
    print("|---|---|---|---|")
    for variant, measured in rates.items():
        rate = statistics.median(measured)
        print(f"| {variant.label} | {events[variant]:,} | {rate:,.0f} | {ours / rate:.2f} times |")
    print(
        f"\nMedians of the rounds. Target: ≥ {TARGET:,}: {'met' if ours >= TARGET else 'missed'}."
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks flink")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--process-events", type=int, default=100_000, help="0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
