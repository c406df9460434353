"""Latency from a stored patient to its prediction in the event stream, on the running platform.

`make up && make bench ARGS=stream` (`--rates 1 100 --seconds 120`) stores patients at each rate.
Predictions come from the stream, from the stream with its components' default delays, and from a
shortcut with PostgreSQL notifications only. Prints Markdown tables of the total latency, of each
stage, and of the CPU time of the idle stream.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Sequence

import psutil

from benchmarks.stream.defaults import default_delays
from benchmarks.stream.patients import AfterInsert, Round, measure
from benchmarks.stream.shortcut import Shortcut, notify
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import Supervisor
from diabetes_platform.provisioning.databases import SUPERUSER, WAREHOUSE_DATABASE
from diabetes_platform.settings import PlatformSettings, Port

STREAM, SHORTCUT = "stream", "notifications only"
DEFAULTS = "stream, default delays"
P50_TARGET, P99_TARGET = 60.0, 200.0
WARM_UP = 10.0
IDLE_SECONDS = 20.0
SERVICES = ("connect", "kafka", "postgres", "flink-jobmanager", "flink-taskmanager", "predictor")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print the results."""
    options = _parse(arguments)
    stack = Stack(PlatformSettings())
    pids = _pids(stack)
    idle = _cpu_shares(pids)
    url, port = database_url(stack, SUPERUSER, WAREHOUSE_DATABASE), stack.port(Port.API)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.")
    results: dict[float, dict[str, Round]] = {}
    for rate in options.rates:
        results[rate] = {STREAM: _run_round(url, port, rate, options.seconds)}
        with Shortcut(url, stack.url(Port.API)):
            results[rate][SHORTCUT] = _run_round(url, port, rate, options.seconds, notify)
    with default_delays(stack):
        for rate, rounds in results.items():
            rounds[DEFAULTS] = _run_round(url, port, rate, options.seconds)
    for rate, rounds in results.items():
        _print_totals(rate, rounds)
        _print_stages(rounds)
    _print_idle(idle)


def _run_round(
    url: str, port: int, rate: float, seconds: float, after_insert: AfterInsert | None = None
) -> Round:
    return asyncio.run(measure(url, port, rate, seconds, WARM_UP, after_insert))


def _pids(stack: Stack) -> dict[str, int]:
    processes = Supervisor(stack.layout).processes()
    if processes is None:
        raise PlatformError("The platform is not running: start it with `make up`.")
    return {process.name: process.pid for process in processes if process.name in SERVICES}


def _cpu_shares(pids: dict[str, int]) -> dict[str, float]:
    """Return the share of a core that each idle service uses, including its child processes."""
    start = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(IDLE_SECONDS)
    return {
        name: (_cpu_seconds(pids[name]) - seconds) / IDLE_SECONDS for name, seconds in start.items()
    }


def _cpu_seconds(pid: int) -> float:
    process = psutil.Process(pid)
    processes = (process, *process.children(recursive=True))
    return sum(sum(member.cpu_times()[:2]) for member in processes)


def _print_totals(rate: float, rounds: dict[str, Round]) -> None:
    print(f"\n{rate:g} patients per second, from INSERT to event:\n")
    print("| variant | patients/s | p50 ms | p99 ms | max ms | p50 / shortcut |")
    print("|---|---|---|---|---|---|")
    for name, result in rounds.items():
        ratio = result.quantile(0.5) / rounds[SHORTCUT].quantile(0.5)
        print(
            f"| {name} | {result.rows_per_second:.1f} | {result.quantile(0.5):.1f} "
            f"| {result.quantile(0.99):.1f} | {result.quantile(1.0):.1f} | {ratio:.1f} |"
        )
    stream = rounds[STREAM]
    met = stream.quantile(0.5) <= P50_TARGET and stream.quantile(0.99) <= P99_TARGET
    target = f"p50 ≤ {P50_TARGET:.0f} ms, p99 ≤ {P99_TARGET:.0f} ms"
    print(f"\nTarget of the stream: {target}: {'met' if met else 'missed'}.")


def _print_stages(rounds: dict[str, Round]) -> None:
    print("\n| stage, p50 / p99 ms | stream | default delays |\n|---|---|---|")
    for stage in rounds[STREAM].stages:
        quantiles = [
            f"{rounds[name].quantile(0.5, stage):.1f} / {rounds[name].quantile(0.99, stage):.1f}"
            for name in (STREAM, DEFAULTS)
        ]
        print(f"| {stage} | {quantiles[0]} | {quantiles[1]} |")


def _print_idle(idle: dict[str, float]) -> None:
    print("\n| idle service | share of a core |\n|---|---|")
    for name, share in idle.items():
        print(f"| {name} | {share:.1%} |")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks stream")
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 100.0], help="patients/s")
    parser.add_argument("--seconds", type=float, default=120.0, help="duration of a round")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
