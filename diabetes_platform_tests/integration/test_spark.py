"""Sail, the platform's Spark server and a cluster of two workers write equal tables to S3."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.cleaning.spark_jobs import (
    Labels,
    batch_hash,
    clean_batch,
    fit_statistics,
    quarantine_batch,
)
from diabetes_platform.contract.tables import LABELLED_PATIENTS, batch_id_of
from diabetes_platform.lake.delta import DeltaPath, Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.ports import HOST, free_port, listens
from diabetes_platform.local.processes import spawn, stop_group
from diabetes_platform.local.stack import INFRA, Stack
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.cleaning.batches import dirty_rows, raw_table
from diabetes_platform_tests.intakes import changed, stream
from diabetes_platform_tests.storage import Storage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROWS, LABELLED = 2_000, 20
CONTENT_HASH = "c" * 64
KEYS = {"statistics": "field", "cleaned": "record_id", "quarantine": "record_id"}
STARTED_SECONDS = 120.0
Results = Mapping[str, list[dict[str, object]]]


@dataclass(frozen=True)
class Cluster:
    """A standalone master with two workers, and a Connect server that uses them."""

    remote: str
    work: Path

    def executors(self, worker: int) -> list[Path]:
        """Return the directories of the executors that a worker has started."""
        return list(self.work.glob(f"worker-{worker}/executors/app-*/*"))


@pytest.fixture(scope="module")
def cluster(
    stack: Stack, storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The processes of `make up SPARK=cluster`, started with the supervisor's commands."""
    work = tmp_path_factory.mktemp("spark-cluster")
    port, master_port = free_port(), free_port()
    master = f"spark://{HOST}:{master_port}"
    environment = {**os.environ, **storage.environment("spark")}
    with ExitStack() as running:

        def start(name: str, server: str, *arguments: str) -> None:
            process = spawn(
                [*serve(server, stack, work / name), *arguments],
                log=work / f"{name}.log",
                environment=environment,
            )
            running.callback(stop_group, process, grace=10)

        start("master", "master", "--port", str(master_port))
        wait_for_port(master_port)
        for worker in (1, 2):
            start(f"worker-{worker}", "worker", "--master", master)
        start("connect", "connect", "--port", str(port), "--master", master)
        wait_for_port(port)
        yield Cluster(f"sc://{HOST}:{port}", work)


def serve(server: str, stack: Stack, work: Path) -> list[str]:
    java, tools = str(find_java(os.environ)), str(stack.layout.tools)
    command = [sys.executable, "-m", "diabetes_platform.local.spark.serve", server]
    options = {"--java": java, "--tools": tools, "--infra": str(INFRA), "--work": str(work)}
    return [*command, *(text for option in options.items() for text in option)]


def wait_for_port(port: int) -> None:
    wait_until(lambda: listens(port), timeout=STARTED_SECONDS, interval=0.2)


@pytest.fixture(scope="module")
def raw(storage: Storage) -> DeltaPath:
    """A dirty batch on S3."""
    s3 = storage.s3("pipeline")
    table = DeltaPath(f"s3://lake/raw/{secrets.token_hex(4)}", s3)
    write_deltalake(
        table.path,
        raw_table(dirty_rows(ROWS, seed=4), CONTENT_HASH),
        partition_by=["content_hash"],
        storage_options=s3.for_deltalake(),
    )
    return table


@pytest.fixture(scope="module")
def labels(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """Labels on S3, where the users of the platform can read and write them."""
    local = Lake(str(tmp_path_factory.mktemp("stream")))
    stream(local, *(changed(n, n, outcome=n % 2, age=20.0 + n) for n in range(1, LABELLED + 1)))
    snapshot = update_labels(local)
    root = f"s3://lake/labels/{secrets.token_hex(4)}"
    lake = Lake(root, storage.s3("pipeline"))
    rows = local.table(LABELLED_PATIENTS).open().to_pyarrow_table()
    version, _ = lake.snapshot(LABELLED_PATIENTS, rows, snapshot.content_hash)
    lake.snapshot(LABELLED_PATIENTS, rows.slice(1), "labels of a later batch")
    return Labels(lake.table(LABELLED_PATIENTS), version, snapshot.content_hash)


@pytest.fixture(scope="module")
def by_sail(raw: DeltaPath, labels: Labels, storage: Storage) -> Results:
    with pytest.MonkeyPatch.context() as patch:
        # Sail runs in this process and reads the environment.
        for name, value in storage.environment("pipeline").items():
            patch.setenv(name, value)
        return cleaned_by(None, raw, labels)


def cleaned_by(remote: str | None, raw: DeltaPath, labels: Labels) -> Results:
    """Return every table of the batch, computed by the engine at `remote` (None: Sail)."""
    engine = secrets.token_hex(4)
    tables = {name: DeltaPath(f"s3://lake/{name}/{engine}", raw.s3) for name in KEYS}
    with spark_session(remote) as session:
        clean(session, raw, labels, tables)
    return {name: exact(table, KEYS[name]) for name, table in tables.items()}


def clean(
    session: SparkSession, raw: DeltaPath, labels: Labels, tables: Mapping[str, DeltaPath]
) -> None:
    fit_statistics(session, raw, CONTENT_HASH, tables["statistics"], labels)
    cleaned = clean_batch(
        session, raw, CONTENT_HASH, tables["statistics"], tables["cleaned"], labels
    )
    assert cleaned.rows == ROWS + LABELLED
    batch_id = batch_id_of(batch_hash(CONTENT_HASH, labels))
    quarantine_batch(tables["cleaned"], batch_id, tables["quarantine"])


def exact(table: DeltaPath, key: str) -> list[dict[str, object]]:
    """Return the rows sorted by key, with floats as hexadecimal text for a bit-exact comparison."""
    rows = [
        {name: v.hex() if isinstance(v, float) else v for name, v in row.items()}
        for row in table.open().to_pyarrow_table().to_pylist()
    ]
    return sorted(rows, key=lambda row: row[key])


@pytest.mark.slow
def test_the_platforms_spark_writes_the_same_tables_as_sail(
    stack: Stack, raw: DeltaPath, labels: Labels, by_sail: Results
) -> None:
    assert all(by_sail.values())
    assert cleaned_by(stack.settings.spark_remote, raw, labels) == by_sail


@pytest.mark.slow
def test_a_cluster_of_two_workers_writes_the_same_tables_as_sail(
    cluster: Cluster, raw: DeltaPath, labels: Labels, by_sail: Results
) -> None:
    assert all(by_sail.values())
    assert cleaned_by(cluster.remote, raw, labels) == by_sail


@pytest.mark.slow
def test_both_workers_of_the_cluster_had_an_executor(cluster: Cluster) -> None:
    with spark_session(cluster.remote) as session:
        assert session.range(1000, numPartitions=8).count() == 1000
    assert cluster.executors(1)
    assert cluster.executors(2)
