"""Installation of FLINK_HOME: the distribution from Flink's wheel, and its start arguments.

Flink's own scripts start up to three JVMs before the server's at each start. Here Flink's
configuration is evaluated once, at installation, and stored as argument files for `java`.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.distribution import (
    CLIENT,
    CONF_DIR,
    SERVERS,
    FlinkHome,
    Program,
    Server,
)
from diabetes_platform.local.install import jars
from diabetes_platform.local.install.environments import Environment
from diabetes_platform.local.install.progress import StepProgress
from diabetes_platform.local.install.stamps import STAMP_FILE, Stamp, digest_of, read_stamp
from diabetes_platform.local.install.subprocesses import run
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

_PROJECT = PROJECT_ROOT / "flink"
ENVIRONMENT = Environment(
    "flink", _PROJECT / "requirements.lock", _PROJECT / "requirements.lock", _PROJECT
)
DEVELOPMENT_ENVIRONMENT = Environment(
    "flink-development",
    _PROJECT / "requirements-dev.lock",
    _PROJECT / "requirements-dev.lock",
    _PROJECT,
)
"""Only the tests of the Flink jobs need it."""
JARS, S3_JARS = "flink", "flink-s3"
_RESULT = "BASH_JAVA_UTILS_EXEC_RESULT:"
"""The prefix that separates BashJavaUtils' results from its log output."""


def is_current(tools: Tools, java: Path) -> bool:
    """Whether FLINK_HOME was built from this wheel, these jars, this configuration and `java`."""
    return read_stamp(FlinkHome(tools).root / STAMP_FILE) == Stamp(_digest(tools, java))


async def install(
    tools: Tools, java: Path, environment: Mapping[str, str], progress: StepProgress
) -> None:
    """Build FLINK_HOME from scratch; the wheel's environment and the jars must be installed.

    `environment` is the caller's. Raises PlatformError with the reason of a failure.
    """
    home = FlinkHome(tools)
    await require_shared_python(home, environment)
    progress.running("copying scripts and linking jars")
    shutil.rmtree(home.root, ignore_errors=True)
    build_home(home)
    progress.running("computing the start arguments of its servers")
    update = ("UPDATE_AND_GET_FLINK_CONFIGURATION", "-flatten")
    configuration = await _run_java_utils(home, update, java, environment)
    jar_path = class_path(home)
    for server in SERVERS:
        memory = await _run_java_utils(home, (server.memory_command,), java, environment)
        _write(home, server, server_arguments(server, memory, configuration, jar_path))
    _write(home, CLIENT, java_arguments(CLIENT, configuration, jar_path))
    Stamp(_digest(tools, java)).write(home.root / STAMP_FILE)


async def require_shared_python(home: FlinkHome, environment: Mapping[str, str]) -> None:
    """Raise PlatformError if the jobs' Python has no shared library that the JVM can load."""
    output: list[str] = []
    program = "from find_libpython import find_libpython; print(find_libpython() or '')"
    await run(
        [str(home.python), "-c", program],
        step="flink",
        log=home.tools.log("flink"),
        environment=environment,
        on_line=output.append,
    )
    if not "".join(output).strip():
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
    server: Server, memory: Sequence[str], configuration: Sequence[str], jar_path: str
) -> list[str]:
    """Return the arguments of `java` for a server.

    `memory` is two lines from Flink: JVM options, then Flink's dynamic properties. The JVM
    options of the configuration come after those for memory, so that `-Xms` can be lowered.
    """
    jvm, dynamic = memory
    arguments = java_arguments(server, configuration, jar_path)
    return [*jvm.split(), *arguments, "--configDir", str(CONF_DIR), *dynamic.split()]


def java_arguments(program: Program, configuration: Sequence[str], jar_path: str) -> list[str]:
    """Return the arguments of `java` up to the main class; `configuration` is `name: value`."""
    settings = dict(line.split(": ", 1) for line in configuration)
    arguments = settings.get("env.java.opts.all", "").split()
    arguments += settings.get(f"env.java.opts.{program.name}", "").split()
    arguments.append(f"-Dlog4j.configurationFile=file:{CONF_DIR / program.logging}")
    return [*arguments, "-cp", jar_path, program.main]


def as_argument_file(arguments: Sequence[str]) -> str:
    r"""Return the text of a file for `java @file`, where `\` escapes within quotes."""
    escaped = (argument.replace("\\", r"\\").replace('"', r"\"") for argument in arguments)
    return "".join(f'"{argument}"\n' for argument in escaped)


def _write(home: FlinkHome, program: Program, arguments: Sequence[str]) -> None:
    home.arguments(program).write_text(as_argument_file(arguments), encoding="utf-8")


async def _run_java_utils(
    home: FlinkHome, command: Sequence[str], java: Path, environment: Mapping[str, str]
) -> list[str]:
    """Run BashJavaUtils, which Flink's scripts use too, and return its results."""
    output: list[str] = []
    core = next((home.root / "lib").glob("flink-dist-*.jar"))
    jar_path = f"{home.root / 'bin' / 'bash-java-utils.jar'}{os.pathsep}{core}"
    main = "org.apache.flink.runtime.util.bash.BashJavaUtils"
    name, *options = command
    await run(
        [str(java), "-cp", jar_path, main, name, "--configDir", str(CONF_DIR), *options],
        step="flink",
        log=home.tools.log("flink"),
        environment=environment,
        on_line=output.append,
    )
    return results(output)


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
