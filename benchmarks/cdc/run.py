"""From an inserted row to its event: the platform's connector against its default settings.

`python -m benchmarks cdc [--rate ROWS --seconds S --rounds N]` starts PostgreSQL, a broker and a
Connect worker, registers both connectors in turns (A B B A …, so that a noisy machine is unfair to
both alike) and prints a Markdown table. Three minutes.
"""

import argparse
import json
import os
import secrets
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cdc.latency import Round, measure
from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan, install
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.provisioning.connector import read_config, setup_connector
from diabetes_platform.settings import PlatformSettings, inherited_environment
from diabetes_platform_tests.capture import TOOLS, Connect, own_connect, own_kafka
from diabetes_platform_tests.provisioned import CAPTURE, provision

OURS, DEFAULTS = "infra/debezium", "all default"
P50_TARGET, P99_TARGET = 20.0, 60.0
WARM_UP = 5.0
_REQUIRED = (
    "connector.class",
    "database.dbname",
    "database.hostname",
    "database.password",
    "database.port",
    "database.user",
    "plugin.name",
    "publication.autocreate.mode",
    "publication.name",
    "slot.name",
    "table.include.list",
    "tasks.max",
    "topic.prefix",
)
"""Settings that a connector to this database requires."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    _install()
    home = PlatformSettings().home.absolute() / "bench"
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home) as folder:
        directory = Path(folder)
        # A server that root starts runs as another user, who needs access to its data directory.
        directory.chmod(0o711)
        files = _connectors(directory)
        rounds: dict[str, list[Round]] = {name: [] for name in files}
        with _services(directory) as connect:
            for turn in range(options.rounds):
                for name in list(files) if turn % 2 == 0 else list(files)[::-1]:
                    setup_connector(connect.url, connect.database_url, files[name])
                    measured = measure(connect, options.rate, options.seconds, WARM_UP)
                    rounds[name].append(measured)
                    _print_round(turn, name, measured)
    _print_table(rounds, options.rate)


def _install() -> None:
    lock = read_lock()
    plan = InstallPlan(jars=(lock["kafka"], lock["connect/debezium"]))
    install(plan, TOOLS, inherited_environment(), print)


@contextmanager
def _services(directory: Path) -> Iterator[Connect]:
    password = secrets.token_urlsafe(24)
    server = Postgres(directory / "postgres", free_port(), password, settings=CAPTURE)
    with (
        server,
        own_kafka(directory) as kafka,
        own_connect(kafka, provision(server), directory) as connect,
    ):
        yield connect


def _connectors(directory: Path) -> dict[str, Path]:
    config = read_config()
    plain = directory / "defaults.json"
    plain.write_text(json.dumps({name: config[name] for name in _REQUIRED}), encoding="utf-8")
    ours = directory / "ours.json"
    ours.write_text(json.dumps(config), encoding="utf-8")
    return {OURS: ours, DEFAULTS: plain}


def _print_round(turn: int, name: str, result: Round) -> None:
    p50, p99 = result.quantile(0.5), result.quantile(0.99)
    print(f"round {turn + 1}, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms", file=sys.stderr)


def _print_table(rounds: dict[str, list[Round]], rate: float) -> None:
    print(
        f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {rate:.0f} rows/s requested.\n"
    )
    print("| connector | rows/s | p50 ms | p99 ms | largest ms | CPU idle | CPU loaded | p50 is |")
    print("|---|---|---|---|---|---|---|---|")
    for name, measured in rounds.items():
        pairs = zip(rounds[OURS], measured, strict=True)
        ratio = statistics.median(a.quantile(0.5) / b.quantile(0.5) for a, b in pairs)
        print(
            f"| {name} | {_median(measured, lambda m: m.rows_per_second):.1f} "
            f"| {_p50(measured):.1f} | {_p99(measured):.1f} "
            f"| {_median(measured, lambda m: m.latencies[-1]):.1f} "
            f"| {_median(measured, lambda m: m.idle):.0%} "
            f"| {_median(measured, lambda m: m.loaded):.0%} | {ratio:.3f} times |"
        )
    met = _p50(rounds[OURS]) <= P50_TARGET and _p99(rounds[OURS]) <= P99_TARGET
    target = f"p50 ≤ {P50_TARGET:.0f} ms, p99 ≤ {P99_TARGET:.0f} ms"
    print(f"\nMedians of the rounds. Target: {target}: {'met' if met else 'missed'}.")


def _median(rounds: Sequence[Round], measure_of: Callable[[Round], float]) -> float:
    return statistics.median(map(measure_of, rounds))


def _p50(rounds: Sequence[Round]) -> float:
    return _median(rounds, lambda round_: round_.quantile(0.5))


def _p99(rounds: Sequence[Round]) -> float:
    return _median(rounds, lambda round_: round_.quantile(0.99))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks cdc")
    parser.add_argument("--rate", type=float, default=100.0, help="rows a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
