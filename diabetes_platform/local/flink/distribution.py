"""Paths of Flink's distribution, and the Java programs that it contains."""

from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

CONF_DIR = PROJECT_ROOT / "infra" / "flink"
VENV = "flink"


@dataclass(frozen=True, slots=True)
class Program:
    """A Java program of Flink: its main class, and its logging configuration in `infra/flink`."""

    name: str
    main: str
    logging: str


@dataclass(frozen=True, slots=True)
class Server(Program):
    """A Flink server, and the BashJavaUtils command that computes its memory settings."""

    memory_command: str


CLIENT = Program("client", "org.apache.flink.client.cli.CliFrontend", "log4j-cli.properties")
JOBMANAGER = Server(
    "jobmanager",
    "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "log4j-console.properties",
    "GET_JM_RESOURCE_PARAMS",
)
TASKMANAGER = Server(
    "taskmanager",
    "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    "log4j-console.properties",
    "GET_TM_RESOURCE_PARAMS",
)
SERVERS = (JOBMANAGER, TASKMANAGER)


@dataclass(frozen=True, slots=True)
class FlinkHome:
    """FLINK_HOME and the Python environment beside it; nothing is created here."""

    tools: Tools

    @property
    def root(self) -> Path:
        """FLINK_HOME."""
        return self.tools.root / "flink"

    @property
    def python(self) -> Path:
        """The Python that jobs run in."""
        return self.tools.venv(VENV) / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """The packages of that Python; raises PlatformError if Flink is not among them."""
        directories = sorted(self.tools.venv(VENV).glob("lib/python*/site-packages"))
        if not directories or not (directories[0] / "pyflink" / "bin").is_dir():
            raise PlatformError(f"{self.tools.venv(VENV)} has no Flink: run `make up`")
        return directories[0]

    def arguments(self, program: Program) -> Path:
        """Return the file for `java @file` that starts a program; more options may follow."""
        return self.root / f"{program.name}.args"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which Flink finds its directories."""
        return {
            "FLINK_HOME": str(self.root),
            "FLINK_CONF_DIR": str(CONF_DIR),
            "FLINK_LIB_DIR": str(self.root / "lib"),
            "FLINK_OPT_DIR": str(self.root / "opt"),
            "FLINK_PLUGINS_DIR": str(self.root / "plugins"),
        }
