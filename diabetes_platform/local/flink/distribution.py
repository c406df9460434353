"""Where Flink's distribution lies below the tools, and what its servers and its client run with."""

from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

CONF_DIR = PROJECT_ROOT / "infra" / "flink"
VENV = "flink"


@dataclass(frozen=True, slots=True)
class Program:
    """A Java program of Flink's: its class, and the file of `infra/flink` for its log."""

    name: str
    main: str
    logging: str


@dataclass(frozen=True, slots=True)
class Server(Program):
    """One of Flink's servers, and the word by which Flink tells its memory."""

    memory: str


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
PROGRAMS = (*SERVERS, CLIENT)


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
        """Where that Python's packages lie; PlatformError where Flink is not among them."""
        found = sorted(self.tools.venv(VENV).glob("lib/python*/site-packages"))
        if not found or not (found[0] / "pyflink" / "bin").is_dir():
            raise PlatformError(f"{self.tools.venv(VENV)} has no Flink: run `make up`")
        return found[0]

    def arguments(self, program: Program) -> Path:
        """Return the file with which `java @file` becomes a program; its own options may follow."""
        return self.root / f"{program.name}.args"

    def archive(self, program: Program) -> Path:
        """Return the archive of classes that a program maps instead of reading them anew."""
        return self.root / f"{program.name}.jsa"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which Flink finds its own parts."""
        return {
            "FLINK_HOME": str(self.root),
            "FLINK_CONF_DIR": str(CONF_DIR),
            "FLINK_LIB_DIR": str(self.root / "lib"),
            "FLINK_OPT_DIR": str(self.root / "opt"),
            "FLINK_PLUGINS_DIR": str(self.root / "plugins"),
        }
