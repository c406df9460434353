"""`POST /predict` per second on one worker: the API, the API without a model, plain FastAPI.

`python -m benchmarks.serving.predict` starts the three servers on free ports, loads them in turns
(so that noise on the machine affects all of them) and prints a Markdown table. Takes one minute.
"""

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.patients import read_rows, release, requests_of, train
from diabetes_platform.polling import wait_until

ROUNDS = 6
SECONDS = 2.5
CONNECTIONS = 16
API, NO_MODEL, PLAIN = (
    "the API",
    "(a) the API without a model",
    "(b) plain FastAPI + Booster.predict",
)
_UVICORN = ("-m", "uvicorn", "--factory", "--no-access-log", "--log-level", "warning")


@dataclass
class Server:
    """A server under load, and the results of each round."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    rounds: list[dict[str, float]] = field(default_factory=list)

    def median(self, measure: str) -> float:
        """Return the median of one measure over the rounds."""
        return statistics.median(result[measure] for result in self.rounds)


def main() -> None:
    """Run the benchmark and print the results."""
    rows = read_rows()
    bundle, model_text = train(rows)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        release(home / "models", bundle, model_text)
        model = home / "models" / "diabetes" / bundle.model_version / "model.txt"
        empty = home / "empty"
        commands = {
            API: (("-m", "serving.app"), {"PLATFORM_HOME": folder}),
            NO_MODEL: (
                (*_UVICORN, "benchmarks.serving.no_model:create_app"),
                {"PLATFORM_HOME": str(empty)},
            ),
            PLAIN: (
                (*_UVICORN, "benchmarks.serving.plain:create_app"),
                {"BENCHMARK_MODEL": str(model)},
            ),
        }
        bodies = requests_of(rows)
        with _running(commands, bodies[0]) as servers:
            _take_turns(servers, bodies)
            _print_table(servers)


@contextmanager
def _running(
    commands: dict[str, tuple[tuple[str, ...], dict[str, str]]], body: bytes
) -> Iterator[list[Server]]:
    servers = []
    try:
        for name, (arguments, variables) in commands.items():
            port = _free_port()
            command = [sys.executable, *arguments]
            if "uvicorn" in arguments:
                command += ["--port", str(port)]
            environment = {**os.environ, **variables, "PLATFORM_API_PORT": str(port)}
            process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            servers.append(Server(name, process, port))
        for server in servers:
            _wait_for_prediction(server, body)
        yield servers
    finally:
        for server in servers:
            server.process.terminate()
            server.process.wait(20)


def _take_turns(servers: list[Server], bodies: list[bytes]) -> None:
    for server in servers:
        _drive(server, bodies, 1.0)
    for turn in range(ROUNDS):
        order = servers if turn % 2 == 0 else servers[::-1]
        for server in order:
            cpu_start = _cpu_seconds(server.process.pid)
            result = _drive(server, bodies, SECONDS)
            cpu_seconds = _cpu_seconds(server.process.pid) - cpu_start
            server.rounds.append(result | {"cpu_us": 1e6 * cpu_seconds / result["requests"]})
            print(
                f"{turn + 1}/{ROUNDS} {server.name}: {result['per_second']:.0f}/s",
                file=sys.stderr,
            )


def _drive(server: Server, bodies: list[bytes], seconds: float) -> dict[str, float]:
    arguments = [str(server.port), str(seconds), str(CONNECTIONS)]
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load", *arguments],
        input=b"\n".join(bodies),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    result: dict[str, float] = json.loads(completed.stdout)
    if result["failures"]:
        raise SystemExit(f"{server.name}: {result['failures']} responses were not 200")
    return result


def _print_table(servers: list[Server]) -> None:
    api = servers[0]
    print(f"\n{_machine()}\n{ROUNDS} rounds of {SECONDS} s in turns, {CONNECTIONS} connections.\n")
    print("| one worker | requests/s | p50 ms | p99 ms | server CPU µs/request | API speed |")
    print("|---|---|---|---|---|---|")
    for server in servers:
        pairs = zip(api.rounds, server.rounds, strict=True)
        ratio = statistics.median(a["per_second"] / b["per_second"] for a, b in pairs)
        print(
            f"| {server.name} | {server.median('per_second'):,.0f} | {server.median('p50_ms'):.2f} "
            f"| {server.median('p99_ms'):.2f} | {server.median('cpu_us'):.0f} | {ratio:.2f} times |"
        )


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}."


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process; NaN on a system without /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return float("nan")
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_prediction(server: Server, body: bytes) -> None:
    """Wait for the first prediction: the API is alive before it has opened its model."""
    url, headers = f"http://127.0.0.1:{server.port}/predict", {"content-type": "application/json"}

    def predicts() -> bool:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended with code {server.process.returncode}")
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5):
            return True

    wait_until(predicts, timeout=20, retry_on=(urllib.error.URLError,))


if __name__ == "__main__":
    main()
