"""All that the servers need on this machine: what is missing is installed, three at a time."""

import asyncio
import fcntl
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.install import environments, go, jars
from diabetes_platform.launcher.install.disk import GIB, require_space
from diabetes_platform.launcher.install.environments import Environment, find_uv
from diabetes_platform.launcher.install.go import Program
from diabetes_platform.launcher.install.jars import JarSet, Maven
from diabetes_platform.launcher.install.java import find_java, find_maven
from diabetes_platform.launcher.install.report import OnReport, Report, State, reported
from diabetes_platform.launcher.install.running import run_interruptible
from diabetes_platform.launcher.install.tools import Tools

_BUILD_SPACE = 3 * GIB
_JARS_SPACE = GIB // 4
_ENVIRONMENT_SPACE = 3 * GIB // 2


Start = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of an installation; nothing where empty."""

    programs: tuple[Program, ...] = ()
    jars: tuple[JarSet, ...] = ()
    environments: tuple[Environment, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.programs or self.jars or self.environments)

    @property
    def space(self) -> int:
        """Bytes that are needed while they are installed, with all that is downloaded for them."""
        return (
            _BUILD_SPACE * bool(self.programs)
            + _JARS_SPACE * len(self.jars)
            + _ENVIRONMENT_SPACE * len(self.environments)
        )

    def missing(self, tools: Tools) -> "Parts":
        """Return those that are not installed as the checkout's locks say."""
        return Parts(
            tuple(part for part in self.programs if not go.is_current(tools, part)),
            tuple(part for part in self.jars if not jars.is_current(tools, part)),
            tuple(part for part in self.environments if not environments.is_current(tools, part)),
        )


def everything() -> Parts:
    """Return all that the whole platform needs."""
    return Parts(go.PROGRAMS, tuple(jars.read_lock().values()), environments.ALL)


def spark_alone() -> Parts:
    """Return what Apache Spark's server needs."""
    return Parts(jars=(jars.read_lock()["spark"],), environments=(environments.SPARK,))


def install_all(root: Path, environment: Mapping[str, str], on_report: OnReport) -> None:
    """Install all that the whole platform needs, see `install`."""
    install(everything(), root, environment, on_report)


def install(parts: Parts, root: Path, environment: Mapping[str, str], on_report: OnReport) -> None:
    """Install below `root` those of `parts` that are missing; a moment where none is.

    `environment` is the caller's. Two at a time wait for each other. Raises LauncherError in one
    line: what the machine lacks, before anything is installed, or what failed. What was complete
    by then stays, and the next call goes on from there; so it does after Ctrl-C, which ends all
    that was started.
    """
    tools = Tools(root)
    java = find_java(environment)
    if not parts.missing(tools):
        return
    with _one_at_a_time(tools, on_report):
        missing = parts.missing(tools)
        require_space({root: missing.space})
        planned = _planned(missing, tools, environment, java, on_report)
        run_interruptible(_all_at_once(planned))


def _planned(
    missing: Parts,
    tools: Tools,
    environment: Mapping[str, str],
    java: Path,
    on_report: OnReport,
) -> list[Start]:
    """Return what is to run at the same time; LauncherError where the machine lacks a tool."""
    planned: list[Start] = []
    uv = find_uv(tools, environment)
    if missing.programs:
        toolchain = go.find_go(environment)
        planned.append(
            partial(_build, missing.programs, tools, toolchain, uv, environment, on_report)
        )
    if missing.jars:
        maven = Maven(find_maven(environment, java), java, environment)
        planned.append(partial(_copy, missing.jars, tools, maven, on_report))
    if missing.environments:
        planned.append(partial(_make, missing.environments, tools, uv, environment, on_report))
    return planned


async def _all_at_once(planned: list[Start]) -> None:
    """Run what was planned; the first failure ends the rest and is the one that is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for start in planned:
                group.create_task(start())
    except ExceptionGroup as failures:
        known, unknown = failures.split(LauncherError)
        if known is None or unknown is not None:
            raise
        raise known.exceptions[0] from None


async def _build(
    programs: tuple[Program, ...],
    tools: Tools,
    toolchain: Path | None,
    uv: Path,
    environment: Mapping[str, str],
    on_report: OnReport,
) -> None:
    for program in programs:
        with reported(f"bin/{program.name}", on_report) as reporter:
            if toolchain is None:
                toolchain = await go.install_toolchain(tools, uv, environment, reporter)
            await go.build(tools, program, toolchain, environment, reporter)
    await go.remove_caches(tools)


async def _copy(sets: tuple[JarSet, ...], tools: Tools, maven: Maven, on_report: OnReport) -> None:
    # One after the other: two Mavens at a time would write to one repository.
    for jar_set in sets:
        with reported(f"jars/{jar_set.directory}", on_report) as reporter:
            await jars.install(tools, jar_set, maven, reporter)


async def _make(
    venvs: tuple[Environment, ...],
    tools: Tools,
    uv: Path,
    environment: Mapping[str, str],
    on_report: OnReport,
) -> None:
    for venv in venvs:
        with reported(f"venvs/{venv.name}", on_report) as reporter:
            await environments.install(tools, venv, uv, environment, reporter)


@contextmanager
def _one_at_a_time(tools: Tools, on_report: OnReport) -> Iterator[None]:
    """Hold a lock that the kernel drops with the process, so that two installations do not meet."""
    tools.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tools.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_report(Report("tools", State.NOTE, "waiting for another installation", 0))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
