"""Running a job of `flink/` on a cluster with Flink's own client, `flink run`."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.flink_cluster import FlinkCluster
from diabetes_platform.launcher.flink_distribution import FlinkHome
from diabetes_platform.launcher.processes import stop_group
from diabetes_platform.settings import PROJECT_ROOT

SMOKE_JOB = PROJECT_ROOT / "flink" / "smoke" / "job.py"
SECONDS = 180.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_CANCELLING_SECONDS = 15.0
_CAUSE = "Caused by: "


@dataclass(frozen=True, slots=True)
class Client:
    """Flink's client: its distribution, the Java that it runs on, the caller's environment."""

    home: FlinkHome
    java: Path
    environment: Mapping[str, str]

    def run(self, job: Path, cluster: FlinkCluster, **options: str) -> str:
        """Run `job` to its end on `cluster` and return what it printed; `options` are Flink's.

        Raises LauncherError that says why it failed. One that takes longer than `SECONDS`, or is
        interrupted, is cancelled.
        """
        process = subprocess.Popen(
            self.command(job, cluster, **options),
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            printed, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LauncherError(f"{job.parent.name}: not done after {SECONDS:.0f} s") from error
        finally:
            stop_group(process, grace=_CANCELLING_SECONDS)
        if process.returncode != 0:
            raise LauncherError(f"{job.parent.name}: {reason(said.decode(errors='replace'))}")
        return printed.decode()

    def command(self, job: Path, cluster: FlinkCluster, **options: str) -> list[str]:
        """Return the command that runs `job` on `cluster`, to which the job's arguments are added.

        When it is asked to end, it cancels the job.
        """
        python = str(self.home.python)
        # Python in the JVM's threads looks for packages only where it is told to.
        path = f"{self.home.site_packages}:{PROJECT_ROOT}"
        command = [str(self.home.root / "bin" / "flink"), "run", "--shutdownOnAttachedExit"]
        command += ["-m", cluster.url.removeprefix("http://")]
        command += ["-pyexec", python, "-pyclientexec", python]
        for name, value in {"python.pythonpath": path, **options}.items():
            command += ["-D", f"{name}={value}"]
        return [*command, "-py", str(job)]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of that command: nothing of the caller's Python, nor any secret."""
        kept = {name: self.environment[name] for name in _KEPT if name in self.environment}
        return {**kept, **self.home.variables, "JAVA_HOME": str(self.java.parents[1])}


def smoke(client: Client, cluster: FlinkCluster) -> str:
    """Prove a cluster from end to end and return in a few words what was seen.

    Python in the TaskManager, SQL in the JVM, a checkpoint, the right result. Raises
    LauncherError where any of it fails.
    """
    overview = cluster.overview()
    if overview.slots_available == 0:
        raise LauncherError(f"no slot is free: {overview}")
    printed = client.run(SMOKE_JOB, cluster, **{"restart-strategy.type": "none"})
    told = json.loads(printed.splitlines()[-1])
    checkpoints = cluster.checkpoints(told["job_id"])
    if checkpoints.completed == 0:
        raise LauncherError(
            f"the smoke job had the right result but no checkpoint, {checkpoints.failed} failed: "
            "is the object store there, and may Flink write to it?"
        )
    patients = sum(told["verdicts"].values())
    return (
        f"{overview}; Flink {overview.version} checked {patients} patients, "
        f"{checkpoints.completed} checkpoints"
    )


def reason(said: str) -> str:
    """Return the line of what the client printed that says why it failed: its innermost cause."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    return (causes or lines or ["it said nothing"])[-1]
