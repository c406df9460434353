"""Flink's command-line client, which runs a job of `flink/` on a cluster."""

import json
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.clients.java_traces import failure_reason
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink.distribution import CLIENT, FlinkHome
from diabetes_platform.local.home import write_private
from diabetes_platform.local.processes import dying_with_parent, stop_group
from diabetes_platform.settings import PROJECT_ROOT

SMOKE_JOB = PROJECT_ROOT / "flink" / "smoke" / "job.py"
TIMEOUT_SECONDS = 180.0
_STOP_SECONDS = 2.0
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
_JVM_WARNINGS_TO_STDERR = ("-Xlog:disable", "-Xlog:all=warning:stderr")
"""Without these options, JVM warnings would appear in a job's output."""


@dataclass(frozen=True, slots=True)
class Client:
    """Flink's client: its distribution, the Java that it runs on, the caller's environment."""

    home: FlinkHome
    java: Path
    environment: Mapping[str, str]

    def run(
        self,
        job: Path,
        cluster: FlinkCluster,
        name: str,
        *,
        arguments: Sequence[str] = (),
        **options: str,
    ) -> str:
        """Run the program `job` with `arguments` to its end and return its output.

        `name` is the name of its job on `cluster`; `options` are Flink's. Raises PlatformError
        with the reason of a failure. After `TIMEOUT_SECONDS` or an interrupt, cancels the job.
        """
        command = [*self.command(job, cluster, name, **options), *arguments]
        return Program(self._start(command), cluster, name).output()

    def prepare(
        self,
        job: Path,
        cluster: FlinkCluster,
        name: str,
        *,
        arguments: Sequence[str] = (),
        **options: str,
    ) -> "PreparedProgram":
        """Start the program `job`, which builds its graph and waits for the remaining options.

        The program must accept the argument `--submit-with FILE`. The cluster need not answer yet.
        The program ends with this process. Raises PlatformError if it cannot start.
        """
        command = [*dying_with_parent(signal.SIGTERM), *self.command(job, cluster, name, **options)]
        try:
            directory = TemporaryDirectory(prefix="flink-client-")
            file = Path(directory.name) / "options.json"
            process = self._start([*command, *arguments, "--submit-with", str(file)])
        except OSError as error:
            raise PlatformError(f"Flink's client cannot start: {error}") from error
        return PreparedProgram(Program(process, cluster, name), directory, file)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def command(self, job: Path, cluster: FlinkCluster, name: str, **options: str) -> list[str]:
        """Return the command that runs `job` on `cluster`; the job's arguments may follow.

        The job continues if the client is killed.
        """
        python = str(self.home.python)
        # Python in thread mode finds packages only on this path.
        path = f"{self.home.site_packages}:{PROJECT_ROOT}"
        # Flink's own script starts two more JVMs before this one.
        command = [
            str(self.java),
            *_JVM_WARNINGS_TO_STDERR,
            f"@{self.home.arguments(CLIENT)}",
            "run",
        ]
        command += ["-m", cluster.url.removeprefix("http://")]
        command += ["-pyexec", python, "-pyclientexec", python]
        settings = {"pipeline.name": name, "python.pythonpath": path, **options}
        for option, value in settings.items():
            command += ["-D", f"{option}={value}"]
        return [*command, "-py", str(job)]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of that command, without secrets and the caller's Python variables."""
        inherited = {k: v for k, v in self.environment.items() if k in _INHERITED}
        return {**inherited, **self.home.variables, "JAVA_HOME": str(self.java.parents[1])}


@dataclass(frozen=True, slots=True)
class Program:
    """A running program, whose job has this name on the cluster."""

    process: subprocess.Popen[bytes]
    cluster: FlinkCluster
    name: str

    def output(self) -> str:
        """Wait for the end of the program and return its output; see `Client.run`."""
        try:
            output, errors = self.process.communicate(timeout=TIMEOUT_SECONDS)
        except BaseException as error:
            stop_group(self.process, grace=0)
            with suppress(ServiceError):
                cancel(self.cluster, self.name)
            if isinstance(error, subprocess.TimeoutExpired):
                raise PlatformError(
                    f"{self.name}: not done after {TIMEOUT_SECONDS:.0f} s"
                ) from error
            raise
        if self.process.returncode != 0:
            # The client's own errors only say that the program failed.
            reason = failure_reason((output or errors).decode(errors="replace"))
            raise PlatformError(f"{self.name}: {reason}")
        return output.decode()


@dataclass(frozen=True, slots=True)
class PreparedProgram:
    """A program that waits for the remaining options of Flink before it submits its job."""

    program: Program
    directory: TemporaryDirectory[str]
    file: Path

    @property
    def alive(self) -> bool:
        """Whether the program still runs: it gives up after a few minutes."""
        return self.program.process.poll() is None

    def submit(self, **options: str) -> str:
        """Submit the job with more of Flink's options; return and raise as `Client.run`."""
        try:
            write_private(self.file, json.dumps(options))
            return self.program.output()
        finally:
            self.stop()

    def stop(self) -> None:
        """End the program, if it runs, and remove its directory."""
        if self.alive:
            # Its JVM removes its own temporary files.
            stop_group(self.program.process, grace=_STOP_SECONDS)
        with self.program.process:  # closes its pipes
            self.directory.cleanup()


def cancel(cluster: FlinkCluster, name: str) -> None:
    """Cancel every job of that name that has not ended."""
    for job in cluster.jobs():
        if job.name == name and not job.ended:
            cluster.cancel(job.id)


def smoke(client: Client, cluster: FlinkCluster) -> str:
    """Run the smoke job on a cluster and return a short summary.

    It tests Python in the TaskManager, SQL in the JVM, a checkpoint and the result. Raises
    PlatformError if one of them fails.
    """
    overview = cluster.overview()
    if overview.slots_available == 0:
        raise PlatformError(f"no slot is free: {overview}")
    name = f"smoke-{secrets.token_hex(4)}"
    output = client.run(SMOKE_JOB, cluster, name, **{"restart-strategy.type": "none"})
    (job,) = (job for job in cluster.jobs() if job.name == name)
    checkpoints = cluster.checkpoints(job.id)
    if checkpoints.completed == 0:
        raise PlatformError(
            f"{name} had the right result but no checkpoint, {checkpoints.failed} failed: "
            "is the object store running, and may Flink write to it?"
        )
    patients = sum(json.loads(output.splitlines()[-1]).values())
    summary = f"{patients} patients checked, {checkpoints.completed} checkpoints"
    return f"Flink {overview.version}: {summary}"
