"""FLINK_HOME: its paths, its programs, and its installation from Flink's wheel.

Flink's own scripts start up to three JVMs before the server's at each start. Here Flink's
configuration is evaluated once, at installation, and stored as argument files for `java`.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install import jars
from diabetes_platform.local.install.progress import step_progress
from diabetes_platform.local.install.stamps import STAMP_FILE, Stamp, digest_of, read_stamp
from diabetes_platform.local.install.subprocesses import run
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.install.venvs import Venv
from diabetes_platform.settings import PROJECT_ROOT

CONF_DIR = PROJECT_ROOT / "infra" / "flink"
_PROJECT = PROJECT_ROOT / "flink"
ENVIRONMENT = Venv(
    "flink", _PROJECT / "requirements.lock", _PROJECT / "requirements.lock", _PROJECT
)
DEVELOPMENT_ENVIRONMENT = Venv(
    "flink-development",
    _PROJECT / "requirements-dev.lock",
    _PROJECT / "requirements-dev.lock",
    _PROJECT,
)
"""Only the tests of the Flink jobs need it."""
JARS, S3_JARS = "flink", "flink-s3"
_RESULT = "BASH_JAVA_UTILS_EXEC_RESULT:"
"""The prefix that separates BashJavaUtils' results from its log output."""


@dataclass(frozen=True, slots=True)
class JavaProgram:
    """A Java program of Flink: its main class, and its logging configuration in `infra/flink`."""

    name: str
    main: str
    logging: str
    role: str
    """The end of `env.java.opts.…` in the configuration."""


@dataclass(frozen=True, slots=True)
class FlinkServer(JavaProgram):
    """A Flink server, and the BashJavaUtils command that computes its memory settings."""

    memory_command: str
    memory: tuple[str, ...] = ()
    """Settings of its memory that differ from those in the configuration, as `name=value`."""


CLIENT = JavaProgram(
    "client", "org.apache.flink.client.cli.CliFrontend", "log4j-cli.properties", "client"
)
JOBMANAGER = FlinkServer(
    "jobmanager",
    "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "log4j-console.properties",
    "jobmanager",
    "GET_JM_RESOURCE_PARAMS",
)
APPLICATION = FlinkServer(
    "application",
    "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint",
    "log4j-console.properties",
    "jobmanager",
    "GET_JM_RESOURCE_PARAMS",
    ("jobmanager.memory.process.size=704m", "jobmanager.memory.jvm-metaspace.size=256m"),
)
"""The JobManager of one job, whose program it runs; for clusters with high availability.

Its memory contains what the client needs on one machine: the SQL planner and its classes.
"""
TASKMANAGER = FlinkServer(
    "taskmanager",
    "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    "log4j-console.properties",
    "taskmanager",
    "GET_TM_RESOURCE_PARAMS",
)
SERVERS = (JOBMANAGER, APPLICATION, TASKMANAGER)


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
        return self.tools.venv(ENVIRONMENT.name) / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """The packages of that Python; raises PlatformError if Flink is not among them."""
        directories = sorted(self.tools.venv(ENVIRONMENT.name).glob("lib/python*/site-packages"))
        if not directories or not (directories[0] / "pyflink" / "bin").is_dir():
            raise PlatformError(f"{self.tools.venv(ENVIRONMENT.name)} has no Flink: run `make up`")
        return directories[0]

    def arguments(self, program: JavaProgram) -> Path:
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


def is_current(tools: Tools, java: Path) -> bool:
    """Whether FLINK_HOME was built from this wheel, these jars, this configuration and `java`."""
    return read_stamp(FlinkHome(tools).root / STAMP_FILE) == Stamp(_digest(tools, java))


async def install(installer: Installer) -> None:
    """Build FLINK_HOME from scratch; the wheel's environment and the jars must be installed.

    Raises PlatformError with the reason of a failure.
    """
    home = FlinkHome(installer.tools)
    with step_progress("flink", installer.on_event) as progress:
        await require_shared_python(home, installer)
        progress.running("copying scripts and linking jars")
        shutil.rmtree(home.root, ignore_errors=True)
        build_home(home)
        progress.running("computing the start arguments of its servers")
        update = ("UPDATE_AND_GET_FLINK_CONFIGURATION", "-flatten")
        configuration = await _run_java_utils(home, update, installer)
        jar_path = class_path(home)
        for server in SERVERS:
            settings = (option for setting in server.memory for option in ("-D", setting))
            memory = await _run_java_utils(home, (server.memory_command, *settings), installer)
            _write(home, server, server_arguments(server, memory, configuration, jar_path))
        _write(home, CLIENT, java_arguments(CLIENT, configuration, jar_path))
        Stamp(_digest(installer.tools, installer.java)).write(home.root / STAMP_FILE)


async def require_shared_python(home: FlinkHome, installer: Installer) -> None:
    """Raise PlatformError if the jobs' Python has no shared library that the JVM can load."""
    program = "from find_libpython import find_libpython; print(find_libpython() or '')"
    if not "".join(await _run([str(home.python), "-c", program], installer)).strip():
        raise PlatformError(
            f"Flink runs Python inside its JVM, and {home.python.resolve()} has no shared "
            "library: install it (Debian and Ubuntu: apt-get install libpython3-dev; pyenv: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared), then run `make up` again"
        )


def build_home(home: FlinkHome) -> None:
    """Copy the scripts, and link the jars into `lib`, `opt` and the plugin's directory."""
    wheel = home.site_packages / "pyflink"
    shutil.copytree(wheel / "bin", home.root / "bin")
    _link(sorted((wheel / "opt").glob("*.jar")), home.root / "opt")
    # Python in the JVM's threads loads a native library, which only one class loader may load.
    python = sorted((wheel / "opt").glob("flink-python-*.jar"))
    connectors = _jars(home.tools, JARS)
    _link([*sorted((wheel / "lib").glob("*.jar")), *python, *connectors], home.root / "lib")
    _link(_jars(home.tools, S3_JARS), home.root / "plugins" / "s3-fs-presto")


def class_path(home: FlinkHome) -> str:
    """Return the class path in the order of Flink's scripts: `flink-dist` comes last."""
    jar_files = sorted((home.root / "lib").glob("*.jar"))
    core = [jar for jar in jar_files if jar.name.startswith("flink-dist")]
    return os.pathsep.join(map(str, [*(jar for jar in jar_files if jar not in core), *core]))


def results(lines: Sequence[str]) -> list[str]:
    """Return the results in the output of BashJavaUtils, without its log lines."""
    return [line.removeprefix(_RESULT) for line in lines if line.startswith(_RESULT)]


def server_arguments(
    server: FlinkServer, memory: Sequence[str], configuration: Sequence[str], jar_path: str
) -> list[str]:
    """Return the arguments of `java` for a server.

    `memory` is two lines from Flink: JVM options, then Flink's dynamic properties. The JVM
    options of the configuration come after those for memory, so that `-Xms` can be lowered.
    """
    jvm, dynamic = memory
    arguments = java_arguments(server, configuration, jar_path)
    return [*jvm.split(), *arguments, "--configDir", str(CONF_DIR), *dynamic.split()]


def java_arguments(program: JavaProgram, configuration: Sequence[str], jar_path: str) -> list[str]:
    """Return the arguments of `java` up to the main class; `configuration` is `name: value`."""
    settings = dict(line.split(": ", 1) for line in configuration)
    arguments = settings.get("env.java.opts.all", "").split()
    arguments += settings.get(f"env.java.opts.{program.role}", "").split()
    arguments.append(f"-Dlog4j.configurationFile=file:{CONF_DIR / program.logging}")
    return [*arguments, "-cp", jar_path, program.main]


def as_argument_file(arguments: Sequence[str]) -> str:
    r"""Return the text of a file for `java @file`, where `\` escapes within quotes."""
    escaped = (argument.replace("\\", r"\\").replace('"', r"\"") for argument in arguments)
    return "".join(f'"{argument}"\n' for argument in escaped)


def _write(home: FlinkHome, program: JavaProgram, arguments: Sequence[str]) -> None:
    home.arguments(program).write_text(as_argument_file(arguments), encoding="utf-8")


async def _run_java_utils(
    home: FlinkHome, command: Sequence[str], installer: Installer
) -> list[str]:
    """Run BashJavaUtils, which Flink's scripts use too, and return its results."""
    core = next((home.root / "lib").glob("flink-dist-*.jar"))
    jar_path = f"{home.root / 'bin' / 'bash-java-utils.jar'}{os.pathsep}{core}"
    main = "org.apache.flink.runtime.util.bash.BashJavaUtils"
    java = [str(installer.java), "-cp", jar_path, main]
    name, *options = command
    return results(await _run([*java, name, "--configDir", str(CONF_DIR), *options], installer))


async def _run(command: Sequence[str], installer: Installer) -> list[str]:
    """Return the lines that a command prints."""
    output: list[str] = []
    await run(
        command,
        step="flink",
        log=installer.tools.log("flink"),
        environment=installer.environment,
        on_line=output.append,
    )
    return output


def _jars(tools: Tools, directory: str) -> list[Path]:
    jar_files = sorted(tools.jars(directory).glob("*.jar"))
    if not jar_files:
        raise PlatformError(f"no jars in {tools.jars(directory)}: run `make up`")
    return jar_files


def _link(sources: Sequence[Path], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for source in sources:
        (directory / source.name).symlink_to(source)


def _digest(tools: Tools, java: Path) -> str:
    """Return the digest of the locks, the configuration, Java and this module."""
    locked = jars.read_lock()
    release = java.parents[1] / "release"
    return digest_of(
        ENVIRONMENT.digest(tools),
        *(locked[directory].digest for directory in (JARS, S3_JARS)),
        CONF_DIR / "config.yaml",
        str(java),
        release if release.exists() else "",
        Path(__file__),
    )
