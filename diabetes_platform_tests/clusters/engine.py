"""A Docker engine on a node of its own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.processes import last_line
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.clusters import node, tools
from diabetes_platform_tests.clusters.requirements import require

PACKAGES = {"dockerd": "docker.io", "runc": "runc"}
BASE_IMAGE = "debian:bookworm-slim"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PID_FILE = "dockerd.pid"
READY_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine; the ports that its containers publish are reached at `node.address`."""

    node: node.Node

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which `docker` and its plugins use this engine."""
        return {
            "DOCKER_HOST": f"unix://{self.node.directory}/docker.sock",
            "DOCKER_CONFIG": str(tools.docker_configuration()),
            "DOCKER_BUILDKIT": "1",
        }

    def docker(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a docker command and return its output; PlatformError if it fails."""
        variables = {**os.environ, **self.environment, **(environment or {})}
        return node.run(["docker", *arguments], environment=variables)

    def import_base_image(self) -> None:
        """Import the base image of all images, unless the engine has it."""
        if self.docker("images", "--quiet", BASE_IMAGE):
            return
        changes = ('CMD ["bash"]', f"ENV PATH={SYSTEM_PATH}")
        options = [option for change in changes for option in ("--change", change)]
        self.docker("import", *options, str(tools.base_image()), BASE_IMAGE)

    def down(self) -> None:
        """Stop the engine and its containers; images, build cache and volumes stay on disk."""
        if self.node.is_running:
            pid_file = self.node.directory / PID_FILE
            self.node.run("kill", pid_file.read_text(encoding="ascii").strip())
            wait_until(lambda: not pid_file.exists(), timeout=STOP_SECONDS)
        self.node.end()


def start_engine(directory: Path, *, ends_with_caller: bool = False) -> Engine:
    """Start an engine with its images and volumes in `directory`; PlatformError if it fails."""
    require({**node.PACKAGES, **PACKAGES})
    machine = node.start_node(directory, internet=True, ends_with_caller=ends_with_caller)
    engine = Engine(machine)
    options = (
        f"--host={engine.environment['DOCKER_HOST']}",
        f"--data-root={directory}/data",
        "--exec-root=/run/docker",
        f"--pidfile={directory}/{PID_FILE}",
        f"--cgroup-parent=/{machine.cgroup}",
        "--storage-driver=overlay2",
        "--bip=172.30.0.1/24",
        "--default-address-pool=base=172.31.0.0/16,size=24",
    )
    try:
        machine.start("dockerd", "dockerd", *options)
        wait_until(
            lambda: engine.docker("version"), timeout=READY_SECONDS, retry_on=(PlatformError,)
        )
    except BaseException as error:
        machine.end()
        if isinstance(error, PlatformError):
            raise PlatformError(f"dockerd: {last_line(machine.log('dockerd'))}") from None
        raise
    return engine


def running_engine(directory: Path) -> Engine | None:
    """Return the engine that runs in `directory`, or None."""
    machine = node.running_node(directory)
    return Engine(machine) if machine else None


@contextmanager
def own_engine(directory: Path) -> Iterator[Engine]:
    """Run an engine with the base image; it ends with this process, however that ends."""
    engine = start_engine(directory, ends_with_caller=True)
    try:
        engine.import_base_image()
        yield engine
    finally:
        engine.down()
