"""Rows per second through predictor and PostgreSQL: batches compared with single rows.

`python -m benchmarks predictor [--rows N --peer-rows N --rounds N]` starts PostgreSQL and a broker,
fills the sink topic, runs a predictor until the backlog is processed, compares every stored row
with the model's prediction, and prints a Markdown table. The reference is the same predictor with a
batch size of one. Takes two minutes.
"""

import argparse
import os
import secrets
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg

from benchmarks.serving.patients import read_rows, release, train
from diabetes_platform.contract.bundle import MODEL_FILE, champion_key, load_champion
from diabetes_platform.contract.fields import FEATURES
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.load_events import Patient, sample_patients
from diabetes_platform_tests.capture import Kafka, own_kafka, running
from diabetes_platform_tests.predictors import Predictor, send
from diabetes_platform_tests.provisioned import CAPTURE, ProvisionedServer, provision
from diabetes_platform_tests.streaming.sink import message
from serving.app.served_model import ServedModel, open_model

BATCHES, SINGLE_ROWS = "batches of 500", "single rows"
TARGET = 5_000
_PROGRESS = "SELECT count(*) FROM serving.predictions WHERE intake_id BETWEEN %s AND %s"
_SPAN = (
    "SELECT extract(epoch FROM max(stored_at) - min(consumed_at))::float8"
    " FROM serving.predictions WHERE intake_id BETWEEN %s AND %s"
)
_STORED = (
    "SELECT intake_id, probability FROM serving.predictions WHERE intake_id BETWEEN %s AND %s"
    " ORDER BY intake_id"
)


@dataclass(frozen=True, slots=True)
class Round:
    """The time that one backlog took."""

    rows: int
    seconds: float
    cpu_seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows per second from the first consumed message to the last stored row."""
        return self.rows / self.seconds


@dataclass(frozen=True, slots=True)
class Services:
    """The services of a round, and the model for comparison."""

    kafka: Kafka
    database: ProvisionedServer
    models: Path
    model: ServedModel
    directory: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print the results."""
    options = _parse(arguments)
    variants = {BATCHES: (500, options.rows), SINGLE_ROWS: (1, options.peer_rows)}
    rounds: dict[str, list[Round]] = {name: [] for name in variants}
    first = 1
    with _services() as services:
        for turn in range(options.rounds):
            for name in list(variants) if turn % 2 == 0 else list(variants)[::-1]:
                batch_size, rows = variants[name]
                result = _run_round(services, range(first, first + rows), batch_size)
                first += rows
                rounds[name].append(result)
                text = f"round {turn + 1}, {name}: {result.rows_per_second:,.0f} rows/s"
                print(text, file=sys.stderr)
    _print_table(rounds)


def _run_round(services: Services, ids: range, batch_size: int) -> Round:
    patients = dict(zip(ids, islice(_patients(ids.start), len(ids)), strict=True))
    send(services.kafka, (message(intake_id, 1, **patients[intake_id]) for intake_id in ids))
    predictor = Predictor(
        services.kafka,
        services.database.url("predictor"),
        services.models,
        services.directory / "predictor.log",
        PLATFORM_PREDICTOR_BATCH=str(batch_size),
    )
    bounds = (ids.start, ids.stop - 1)
    with running(predictor), _warehouse(services) as database:
        process = psutil.Process(predictor.pid)
        cpu_start = sum(process.cpu_times()[:2])
        # Frequent counting would slow down the predictor.
        wait_until(
            lambda: database.execute(_PROGRESS, bounds).fetchone() == (len(ids),),
            timeout=500,
            interval=0.2,
        )
        cpu_seconds = sum(process.cpu_times()[:2]) - cpu_start
        _verify(database, bounds, patients, services.model)
        (seconds,) = database.execute(_SPAN, bounds).fetchone() or (0.0,)
    return Round(len(ids), seconds, cpu_seconds)


def _warehouse(services: Services) -> psycopg.Connection:
    return psycopg.connect(services.database.url("migrator"), autocommit=True)


def _verify(
    database: psycopg.Connection,
    bounds: tuple[int, int],
    patients: dict[int, Patient],
    model: ServedModel,
) -> None:
    """Compare every stored row with the model's prediction; exit if one differs."""
    predictions = model.predict_all(list(patients.values()), with_contributions=False)
    expected = [
        (intake_id, prediction["probability"])
        for intake_id, prediction in zip(patients, predictions, strict=True)
    ]
    if database.execute(_STORED, bounds).fetchall() != expected:
        raise SystemExit("the stored predictions are not the model's")


def _patients(seed: int) -> Iterator[Patient]:
    names = [field.name for field in FEATURES]
    return sample_patients([{name: row[name] for name in names} for row in read_rows()], seed)


@contextmanager
def _services() -> Iterator[Services]:
    home = PlatformSettings().home.absolute() / "bench"
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home) as name:
        directory = Path(name)
        # Started by root, PostgreSQL runs as another user, which must reach its data directory.
        directory.chmod(0o711)
        bundle, text = train(read_rows())
        models = directory / "models"
        release(models, bundle, text)
        champion = load_champion((models / champion_key()).read_bytes())
        files = {path.name: path.read_bytes() for path in models.rglob("*") if path.is_file()}
        files[MODEL_FILE] = text
        model = open_model(champion, files)
        server = Postgres(
            directory / "postgres", free_port(), secrets.token_urlsafe(24), settings=CAPTURE
        )
        with server, own_kafka(directory) as kafka:
            yield Services(kafka, provision(server), models, model, directory)


def _print_table(rounds: dict[str, list[Round]]) -> None:
    batches = statistics.median(result.rows_per_second for result in rounds[BATCHES])
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.\n")
    print("| predictor | rows | rows/s | predictor's CPU µs/row | speed of batches |")
    print("|---|---|---|---|---|")
    for name, results in rounds.items():
        speed = statistics.median(result.rows_per_second for result in results)
        cpu = statistics.median(1e6 * result.cpu_seconds / result.rows for result in results)
        row = (
            f"{results[0].rows:,}",
            f"{speed:,.0f}",
            f"{cpu:.0f}",
            f"{batches / speed:.1f} times",
        )
        print(f"| {name} | {' | '.join(row)} |")
    verdict = "met" if batches >= TARGET else "missed"
    print(f"\nMedians of the rounds. Target: {TARGET:,} rows/s: {verdict}.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks predictor")
    parser.add_argument("--rows", type=int, default=50_000, help="rows of a round in batches")
    parser.add_argument("--peer-rows", type=int, default=3_000, help="single rows of a round")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
