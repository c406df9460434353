"""Where Flink's distribution lies below the tools, and what its servers and its client run with."""

from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

CONF_DIR = PROJECT_ROOT / "infra" / "flink"
VENV = "flink"


@dataclass(frozen=True, slots=True)
class Server:
    """One of Flink's servers: its class, and the word by which Flink tells its memory."""

    name: str
    main: str
    memory: str


JOBMANAGER = Server(
    "jobmanager",
    "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "GET_JM_RESOURCE_PARAMS",
)
TASKMANAGER = Server(
    "taskmanager",
    "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
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
        """Where that Python's packages lie; LauncherError where Flink is not among them."""
        found = sorted(self.tools.venv(VENV).glob("lib/python*/site-packages"))
        if not found or not (found[0] / "pyflink" / "bin").is_dir():
            raise LauncherError(f"{self.tools.venv(VENV)} has no Flink: run `make up`")
        return found[0]

    def arguments(self, server: Server) -> Path:
        """Return the file with which `java @file` becomes a server; `-D` options may follow."""
        return self.root / f"{server.name}.args"

    def archive(self, server: Server) -> Path:
        """Return the archive of classes that a server maps instead of reading them anew."""
        return self.root / f"{server.name}.jsa"

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
