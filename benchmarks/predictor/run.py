"""Rows a second through predictor and PostgreSQL: in batches against one row at a time.

`python -m benchmarks predictor [--rows N --peer-rows N --rounds N]` starts PostgreSQL and a broker,
fills the sink topic, lets a predictor work it off, compares every stored row with the model's own
answer, and prints a Markdown table. The peer is the same predictor with batches of one: a message,
a score, an insert, a commit. Two minutes.
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
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg

from benchmarks.serving.patients import read_rows, release, train
from diabetes_platform.contract.bundle import MODEL_FILE, champion_key, load_champion
from diabetes_platform.contract.fields import FEATURES, fingerprint
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming.sampler import Patient, sample_patients
from diabetes_platform_tests.capture import Kafka, own_kafka, running
from diabetes_platform_tests.predicting import Predictor, send, wait_for
from diabetes_platform_tests.provisioned import CAPTURE, ProvisionedServer, provision
from diabetes_platform_tests.streaming.sink import message
from serving.app.served_model import ServedModel, open_model
from serving.app.validation import Patient as PatientModel

OURS, PEER = "batches of 500", "one at a time"
AIM = 5_000
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
    """What one backlog took."""

    rows: int
    seconds: float
    cpu_seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows a second from the first receipt to the last row stored."""
        return self.rows / self.seconds


@dataclass(frozen=True, slots=True)
class Services:
    """What a round needs."""

    kafka: Kafka
    database: ProvisionedServer
    models: Path
    model: ServedModel
    folder: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = _parse(arguments)
    ways = {OURS: (500, given.rows), PEER: (1, given.peer_rows)}
    rounds: dict[str, list[Round]] = {name: [] for name in ways}
    first = 1
    with _services() as services:
        for turn in range(given.rounds):
            for name in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
                batch, rows = ways[name]
                measured = _round(services, range(first, first + rows), batch)
                first += rows
                rounds[name].append(measured)
                text = f"round {turn + 1}, {name}: {measured.rows_per_second:,.0f} rows/s"
                print(text, file=sys.stderr)
    _print_table(rounds)


def _round(services: Services, ids: range, batch: int) -> Round:
    patients = dict(zip(ids, islice(_patients(ids.start), len(ids)), strict=True))
    send(services.kafka, (message(one, 1, **patients[one]) for one in ids))
    predictor = Predictor(
        services.kafka,
        services.database.url("predictor"),
        services.models,
        services.folder / "predictor.log",
        PLATFORM_PREDICTOR_BATCH=str(batch),
    )
    bounds = (ids.start, ids.stop - 1)
    with running(predictor), _warehouse(services) as database:
        process = psutil.Process(predictor.pid)
        before = sum(process.cpu_times()[:2])

        def stored() -> bool:
            # Counting often would slow down what is measured.
            time.sleep(0.2)
            return database.execute(_PROGRESS, bounds).fetchone() == (len(ids),)

        wait_for(stored, seconds=500)
        used = sum(process.cpu_times()[:2]) - before
        _verify(database, bounds, patients, services.model)
        (seconds,) = database.execute(_SPAN, bounds).fetchone() or (0.0,)
    return Round(len(ids), seconds, used)


def _warehouse(services: Services) -> psycopg.Connection:
    return psycopg.connect(services.database.url("migrator"), autocommit=True)


def _verify(
    database: psycopg.Connection,
    bounds: tuple[int, int],
    patients: dict[int, Patient],
    model: ServedModel,
) -> None:
    """Compare every stored row with the model's answer; exits where one differs."""
    answers = model.predict_all(
        [PatientModel.model_validate(one) for one in patients.values()], with_contributions=False
    )
    expected = [(one, answer["probability"]) for one, answer in zip(patients, answers, strict=True)]
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
        folder = Path(name)
        # Root's server runs as another user, who must get to its data directory.
        folder.chmod(0o711)
        bundle, text = train(read_rows())
        models = folder / "models"
        release(models, bundle, text)
        champion = load_champion((models / champion_key()).read_bytes())
        files = {one.name: one.read_bytes() for one in models.rglob("*") if one.is_file()}
        files[MODEL_FILE] = text
        model = open_model(champion, files, contract_fingerprint=fingerprint())
        server = Postgres(
            folder / "postgres", free_port(), secrets.token_urlsafe(24), settings=CAPTURE
        )
        with server, own_kafka(folder) as kafka:
            yield Services(kafka, provision(server), models, model, folder)


def _print_table(rounds: dict[str, list[Round]]) -> None:
    ours = statistics.median(one.rows_per_second for one in rounds[OURS])
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.\n")
    print("| predictor | rows | rows/s | predictor's CPU µs/row | batches are |")
    print("|---|---|---|---|---|")
    for name, measured in rounds.items():
        speed = statistics.median(one.rows_per_second for one in measured)
        cpu = statistics.median(1e6 * one.cpu_seconds / one.rows for one in measured)
        row = (f"{measured[0].rows:,}", f"{speed:,.0f}", f"{cpu:.0f}", f"{ours / speed:.1f} times")
        print(f"| {name} | {' | '.join(row)} |")
    print(f"\nMedians of the rounds. Aim: {AIM:,} rows/s: {'met' if ours >= AIM else 'missed'}.")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks predictor")
    parser.add_argument("--rows", type=int, default=50_000, help="of one round in batches")
    parser.add_argument("--peer-rows", type=int, default=3_000, help="of one round one at a time")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
