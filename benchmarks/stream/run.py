"""From a stored patient to the answer among its server-sent events, on the running platform.

`make up && make bench ARGS=stream` (`--rates 1 100 --seconds 120`) stores patients at each rate,
answered by the stream, by the stream with its components' default waits, and by a shortcut of
notifications alone, and prints Markdown tables: the whole way, each hop, and what the stream costs
while nobody comes in.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Sequence

import psutil

from benchmarks.stream.defaults import default_waits
from benchmarks.stream.patients import Round, Stored, measure
from benchmarks.stream.shortcut import Shortcut, tell
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.postgres.connection import WAREHOUSE_DATABASE, database_url
from diabetes_platform.local.postgres.data import SUPERUSER
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.settings import PlatformSettings, Port

STREAM, FLOOR = "stream", "notifications alone"
DEFAULTS = "stream, default waits"
P50_AIM, P99_AIM = 60.0, 200.0
WARM_UP = 10.0
IDLE_SECONDS = 20.0
SERVICES = ("connect", "kafka", "postgres", "flink-jobmanager", "flink-taskmanager", "predictor")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = _parse(arguments)
    stack = Stack(PlatformSettings())
    pids = _pids(stack)
    idle = _shares(pids)
    url, port = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE), stack.port(Port.API)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.")
    measured: dict[float, dict[str, Round]] = {}
    for rate in given.rates:
        measured[rate] = {STREAM: _round(url, port, rate, given.seconds)}
        with Shortcut(url, stack.url(Port.API)):
            measured[rate][FLOOR] = _round(url, port, rate, given.seconds, tell)
    with default_waits(stack):
        for rate, rounds in measured.items():
            rounds[DEFAULTS] = _round(url, port, rate, given.seconds)
    for rate, rounds in measured.items():
        _print_ways(rate, rounds)
        _print_hops(rounds)
    _print_idle(idle)


def _round(url: str, port: int, rate: float, seconds: float, stored: Stored | None = None) -> Round:
    return asyncio.run(measure(url, port, rate, seconds, WARM_UP, stored))


def _pids(stack: Stack) -> dict[str, int]:
    processes = Supervisor(stack.layout).processes()
    if processes is None:
        raise PlatformError("The platform is not running: start it with `make up`.")
    return {one.name: one.pid for one in processes if one.name in SERVICES}


def _shares(pids: dict[str, int]) -> dict[str, float]:
    """Return each service's share of a core over a while, its children's included."""
    before = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(IDLE_SECONDS)
    return {name: (_cpu_seconds(pids[name]) - one) / IDLE_SECONDS for name, one in before.items()}


def _cpu_seconds(pid: int) -> float:
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _print_ways(rate: float, rounds: dict[str, Round]) -> None:
    print(f"\n{rate:g} patients a second wanted, INSERT sent to event received:\n")
    print("| way | patients/s | p50 ms | p99 ms | largest ms | p50 is |")
    print("|---|---|---|---|---|---|")
    for name, one in rounds.items():
        ratio = one.quantile(0.5) / rounds[FLOOR].quantile(0.5)
        print(
            f"| {name} | {one.rows_per_second:.1f} | {one.quantile(0.5):.1f} "
            f"| {one.quantile(0.99):.1f} | {one.quantile(1.0):.1f} | {ratio:.1f} times |"
        )
    stream = rounds[STREAM]
    met = stream.quantile(0.5) <= P50_AIM and stream.quantile(0.99) <= P99_AIM
    aim = f"p50 ≤ {P50_AIM:.0f} ms, p99 ≤ {P99_AIM:.0f} ms"
    print(f"\nAim of the stream: {aim}: {'met' if met else 'missed'}.")


def _print_hops(rounds: dict[str, Round]) -> None:
    print("\n| hop, p50 / p99 ms | stream | default waits |\n|---|---|---|")
    for hop in rounds[STREAM].hops:
        quantiles = [
            f"{rounds[way].quantile(0.5, hop):.1f} / {rounds[way].quantile(0.99, hop):.1f}"
            for way in (STREAM, DEFAULTS)
        ]
        print(f"| {hop} | {quantiles[0]} | {quantiles[1]} |")


def _print_idle(idle: dict[str, float]) -> None:
    print("\n| service, nobody comes in | share of a core |\n|---|---|")
    for name, share in idle.items():
        print(f"| {name} | {share:.1%} |")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks stream")
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 100.0], help="patients/s")
    parser.add_argument("--seconds", type=float, default=120.0, help="of one round")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
