"""One measurement: an engine in a process of its own, its results digested."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.batch.databases import database
from benchmarks.batch.memory import Sampler
from benchmarks.batch.results import Results, results_of
from benchmarks.batch.spark_server import SparkConnectServer
from benchmarks.batch.worker import Job, Run
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, inherited_environment

SAIL, SPARK, SCRIPT = ENGINES = ("sail", "spark", "script")
_TIMES = ("cold", "warm")


@dataclass(frozen=True)
class Measurement:
    """What one engine took for one source, twice in one process."""

    engine: str
    cold: Run
    warm: Run
    postgres_mib: float
    results: Results


@dataclass(frozen=True)
class Laboratory:
    """What all measurements share: a PostgreSQL server, a directory, the size of Spark's heap."""

    postgres: Postgres
    directory: Path
    spark_memory: str

    def measure(self, engine: str, source: Path) -> Measurement:
        """Run `engine` on `source` with fresh lakes and databases, which are removed again."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(dir=self.directory)))
            targets = tuple(
                (str(folder / time), stack.enter_context(database(self.postgres, time)))
                for time in _TIMES
            )
            sampler = stack.enter_context(Sampler(self.postgres.pid or 0))
            cold, warm = self._work(engine, source, targets)
            lake, url = targets[-1]
            return Measurement(engine, cold, warm, sampler.peak_mib, results_of(url, Path(lake)))

    def _work(self, engine: str, source: Path, targets: tuple[tuple[str, str], ...]) -> list[Run]:
        started = time.monotonic()
        with self._server(engine) as (remote, pids):
            job = Job(engine, str(source), targets, remote, pids, started)
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.batch.worker"],
                input=json.dumps(dataclasses.asdict(job)).encode(),
                capture_output=True,
                check=False,
                cwd=PROJECT_ROOT,
                env={**inherited_environment(), "RUST_LOG": "error"},
            )
        if done.returncode != 0:
            raise SystemExit(f"{engine} failed:\n{done.stderr.decode(errors='replace')}")
        return [Run(**run) for run in json.loads(done.stdout)]

    @contextmanager
    def _server(self, engine: str) -> Iterator[tuple[str | None, tuple[int, ...]]]:
        """Yield the engine's URL and processes where it is a server of its own."""
        if engine != SPARK:
            yield None, ()
            return
        tools = PlatformSettings().home.absolute()
        heap = (f"-Xmx{self.spark_memory}",)
        with SparkConnectServer(tools, inherited_environment(), java_options=heap) as server:
            yield server.remote, (server.pid,) if server.pid else ()
