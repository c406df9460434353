"""Running a job of `flink/` on a cluster with Flink's own client, as `flink run` does."""

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.distribution import CLIENT, FlinkHome
from diabetes_platform.local.jvm import innermost_cause
from diabetes_platform.local.processes import stop_group
from diabetes_platform.settings import PROJECT_ROOT

SMOKE_JOB = PROJECT_ROOT / "flink" / "smoke" / "job.py"
SECONDS = 180.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_WARNINGS_APART = ("-Xlog:disable", "-Xlog:all=warning:stderr")
"""Without these the JVM's own stand among what a job prints."""


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
        """Run the program `job`, with its `arguments`, to its end and return what it printed.

        On `cluster` its job is known by `name`; `options` are Flink's. Raises PlatformError that
        says why it failed. One that takes longer than `SECONDS`, or is interrupted, is cancelled.
        """
        process = subprocess.Popen(
            [*self.command(job, cluster, name, **options), *arguments],
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            printed, said = process.communicate(timeout=SECONDS)
        except BaseException as error:
            stop_group(process, grace=0)
            cancel(cluster, name)
            if isinstance(error, subprocess.TimeoutExpired):
                raise PlatformError(f"{name}: not done after {SECONDS:.0f} s") from error
            raise
        if process.returncode != 0:
            why = reason(printed.decode(errors="replace"), said.decode(errors="replace"))
            raise PlatformError(f"{name}: {why}")
        return printed.decode()

    def command(self, job: Path, cluster: FlinkCluster, name: str, **options: str) -> list[str]:
        """Return the command that runs `job` on `cluster`; the job's arguments may be added.

        The job goes on when its client is killed.
        """
        python = str(self.home.python)
        # Python in the JVM's threads looks for packages only where it is told to.
        path = f"{self.home.site_packages}:{PROJECT_ROOT}"
        # Flink's script would start two more JVMs before this one.
        command = [str(self.java), *_WARNINGS_APART, f"@{self.home.arguments(CLIENT)}", "run"]
        command += ["-m", cluster.url.removeprefix("http://")]
        command += ["-pyexec", python, "-pyclientexec", python]
        given = {"pipeline.name": name, "python.pythonpath": path, **options}
        for option, value in given.items():
            command += ["-D", f"{option}={value}"]
        return [*command, "-py", str(job)]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of that command: nothing of the caller's Python, nor any secret."""
        kept = {name: self.environment[name] for name in _KEPT if name in self.environment}
        return {**kept, **self.home.variables, "JAVA_HOME": str(self.java.parents[1])}


def cancel(cluster: FlinkCluster, name: str) -> None:
    """Ask for the end of every job of that name that has not ended."""
    for job in cluster.jobs():
        if job.name == name and not job.ended:
            cluster.cancel(job.id)


def smoke(client: Client, cluster: FlinkCluster) -> str:
    """Prove a cluster from end to end and return in a few words what was seen.

    Python in the TaskManager, SQL in the JVM, a checkpoint, the right result. Raises
    PlatformError where any of it fails.
    """
    overview = cluster.overview()
    if overview.slots_available == 0:
        raise PlatformError(f"no slot is free: {overview}")
    name = f"smoke-{secrets.token_hex(4)}"
    printed = client.run(SMOKE_JOB, cluster, name, **{"restart-strategy.type": "none"})
    (job,) = (job for job in cluster.jobs() if job.name == name)
    checkpoints = cluster.checkpoints(job.id)
    if checkpoints.completed == 0:
        raise PlatformError(
            f"{name} had the right result but no checkpoint, {checkpoints.failed} failed: "
            "is the object store there, and may Flink write to it?"
        )
    patients = sum(json.loads(printed.splitlines()[-1]).values())
    seen = f"{patients} patients checked, {checkpoints.completed} checkpoints"
    return f"Flink {overview.version}: {seen}"


def reason(printed: str, said: str) -> str:
    """Return the line that says why a job failed: the innermost cause in what its program printed.

    What the client `said` itself, that the program failed, counts where it printed nothing.
    """
    told = printed or said
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return innermost_cause(told) or (lines or ["it said nothing"])[-1]
