"""FLINK_HOME: Flink's distribution out of its wheel, and how its servers and client are started.

Flink's own scripts start up to three more JVMs before the one that stays, each time. Here Flink is
asked once, at installation, and its answer is kept as a file of arguments for `java`.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink import classes as flink_classes
from diabetes_platform.local.flink.distribution import (
    CLIENT,
    CONF_DIR,
    SERVERS,
    FlinkHome,
    Program,
    Server,
)
from diabetes_platform.local.install import jars, stamp
from diabetes_platform.local.install.environments import Environment
from diabetes_platform.local.install.running import run
from diabetes_platform.local.install.stamp import Stamp
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
_ANSWER = "BASH_JAVA_UTILS_EXEC_RESULT:"
"""How Flink marks what its scripts are to read among what it logs."""

Say = Callable[[str], None]


def is_current(tools: Tools, java: Path) -> bool:
    """Whether FLINK_HOME was made from this wheel, these jars, this configuration and this Java."""
    made = stamp.read_stamp(FlinkHome(tools).root / stamp.NAME)
    return made == Stamp(_digest(tools, java))


async def install(tools: Tools, java: Path, environment: Mapping[str, str], say: Say) -> None:
    """Make FLINK_HOME anew; the wheel's environment and Flink's jars are there already.

    `environment` is the caller's. Raises PlatformError that says why it cannot.
    """
    home = FlinkHome(tools)
    await require_shared_python(home, environment)
    say("laying out the distribution")
    shutil.rmtree(home.root, ignore_errors=True)
    lay_out(home)
    say("asking Flink how its servers start")
    told = await _ask(home, ("UPDATE_AND_GET_FLINK_CONFIGURATION", "-flatten"), java, environment)
    classes = class_path(home)
    for server in SERVERS:
        memory = await _ask(home, (server.memory,), java, environment)
        _write(home, server, server_options(server, memory, told, classes))
    _write(home, CLIENT, java_options(CLIENT, told, classes))
    say("recording the classes that its servers and its client load")
    await flink_classes.record(home, java, environment)
    Stamp(_digest(tools, java)).write(home.root / stamp.NAME)


async def require_shared_python(home: FlinkHome, environment: Mapping[str, str]) -> None:
    """Raise PlatformError where the jobs' Python has no library that the JVM can load."""
    found: list[str] = []
    program = "from find_libpython import find_libpython; print(find_libpython() or '')"
    await run(
        [str(home.python), "-c", program],
        part="flink",
        log=home.tools.log("flink"),
        environment=environment,
        on_line=found.append,
    )
    if not "".join(found).strip():
        raise PlatformError(
            f"Flink runs Python inside its JVM, and {home.python.resolve()} has no shared "
            "library: install it (Debian and Ubuntu: apt-get install libpython3-dev; pyenv: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared), then run `make up` again"
        )


def lay_out(home: FlinkHome) -> None:
    """Copy the scripts, link the jars: Flink's into `lib` and `opt`, each plugin into its own."""
    wheel = home.site_packages / "pyflink"
    shutil.copytree(wheel / "bin", home.root / "bin")
    _link(sorted((wheel / "opt").glob("*.jar")), home.root / "opt")
    # Python in the JVM's threads loads a native library, which only one class loader may do.
    python = sorted((wheel / "opt").glob("flink-python-*.jar"))
    connectors = _jars(home.tools, JARS)
    _link([*sorted((wheel / "lib").glob("*.jar")), *python, *connectors], home.root / "lib")
    _link(_jars(home.tools, S3_JARS), home.root / "plugins" / "s3-fs-presto")


def class_path(home: FlinkHome) -> str:
    """Return Flink's jars in the order in which its scripts give them: its core comes last."""
    found = sorted((home.root / "lib").glob("*.jar"))
    core = [jar for jar in found if jar.name.startswith("flink-dist")]
    return os.pathsep.join(map(str, [*(jar for jar in found if jar not in core), *core]))


def answers(lines: Sequence[str]) -> list[str]:
    """Return what Flink wants its scripts to read, of all that it printed."""
    return [line.removeprefix(_ANSWER) for line in lines if line.startswith(_ANSWER)]


def server_options(
    server: Server, memory: Sequence[str], configuration: Sequence[str], classes: str
) -> list[str]:
    """Return the arguments for `java`, from Flink's answers about memory and configuration.

    `memory` is two lines: options of the JVM, then Flink's own. What the configuration says of
    the JVM comes after its memory, so that it may start with a smaller heap than it may reach.
    """
    jvm, dynamic = memory
    options = java_options(server, configuration, classes)
    return [*jvm.split(), *options, "--configDir", str(CONF_DIR), *dynamic.split()]


def java_options(program: Program, configuration: Sequence[str], classes: str) -> list[str]:
    """Return the arguments for `java` that the configuration gives, up to the program's own."""
    told = dict(line.split(": ", 1) for line in configuration)
    options = told.get("env.java.opts.all", "").split()
    options += told.get(f"env.java.opts.{program.name}", "").split()
    options.append(f"-Dlog4j.configurationFile=file:{CONF_DIR / program.logging}")
    return [*options, "-cp", classes, program.main]


def as_argument_file(arguments: Sequence[str]) -> str:
    r"""Return the text of a file for `java @file`, where `\` escapes within quotes."""
    escaped = (argument.replace("\\", r"\\").replace('"', r"\"") for argument in arguments)
    return "".join(f'"{argument}"\n' for argument in escaped)


def _write(home: FlinkHome, program: Program, options: Sequence[str]) -> None:
    home.arguments(program).write_text(as_argument_file(options), encoding="utf-8")


async def _ask(
    home: FlinkHome, question: Sequence[str], java: Path, environment: Mapping[str, str]
) -> list[str]:
    said: list[str] = []
    core = next((home.root / "lib").glob("flink-dist-*.jar"))
    classes = f"{home.root / 'bin' / 'bash-java-utils.jar'}{os.pathsep}{core}"
    utilities = "org.apache.flink.runtime.util.bash.BashJavaUtils"
    asked, *more = question
    await run(
        [str(java), "-cp", classes, utilities, asked, "--configDir", str(CONF_DIR), *more],
        part="flink",
        log=home.tools.log("flink"),
        environment=environment,
        on_line=said.append,
    )
    return answers(said)


def _jars(tools: Tools, directory: str) -> list[Path]:
    found = sorted(tools.jars(directory).glob("*.jar"))
    if not found:
        raise PlatformError(f"no jars in {tools.jars(directory)}: run `make up`")
    return found


def _link(sources: Sequence[Path], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for source in sources:
        (directory / source.name).symlink_to(source)


def _digest(tools: Tools, java: Path) -> str:
    """What FLINK_HOME is made from: the locks, the configuration, Java, and its modules."""
    locked = jars.read_lock()
    release = java.parents[1] / "release"
    return stamp.digest_of(
        ENVIRONMENT.digest(tools),
        *(locked[directory].digest for directory in (JARS, S3_JARS)),
        CONF_DIR / "config.yaml",
        str(java),
        release if release.exists() else "",
        Path(__file__),
        Path(flink_classes.__file__),
    )
