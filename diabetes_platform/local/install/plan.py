"""The install plan: what servers need on this machine, and the installation of what is missing."""

import asyncio
import fcntl
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install import environments, go, jars
from diabetes_platform.local.install.disk import GIB, require_space
from diabetes_platform.local.install.environments import Environment, find_uv
from diabetes_platform.local.install.go import Program
from diabetes_platform.local.install.jars import JarSet, Maven
from diabetes_platform.local.install.java import find_java, find_maven
from diabetes_platform.local.install.report import OnReport, Report, State, reported
from diabetes_platform.local.install.running import run_interruptible
from diabetes_platform.local.install.tools import Tools

_BUILD_SPACE = 3 * GIB
_JARS_SPACE = GIB // 4
_ENVIRONMENT_SPACE = 3 * GIB // 2
_STEP_SPACE = GIB // 4


Say = Callable[[str], None]
Start = Callable[[], Coroutine[None, None, None]]
Downloads = tuple[list[Start], list[Start]]
"""What Go builds, and what does not need Go."""


@dataclass(frozen=True, slots=True)
class InstallStep:
    """A build step that takes jars and environments that are installed already."""

    name: str
    is_current: Callable[[Tools, Path], bool]
    install: Callable[[Tools, Path, Mapping[str, str], Say], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """InstallPlan of an installation; nothing where empty."""

    programs: tuple[Program, ...] = ()
    jars: tuple[JarSet, ...] = ()
    environments: tuple[Environment, ...] = ()
    steps: tuple[InstallStep, ...] = ()

    def __add__(self, other: "InstallPlan") -> "InstallPlan":
        return InstallPlan(
            self.programs + other.programs,
            self.jars + other.jars,
            self.environments + other.environments,
            self.steps + other.steps,
        )

    def __bool__(self) -> bool:
        return bool(self.programs or self.jars or self.environments or self.steps)

    @property
    def space(self) -> int:
        """Bytes that are needed while they are installed, with all that is downloaded for them."""
        return (
            _BUILD_SPACE * bool(self.programs)
            + _JARS_SPACE * len(self.jars)
            + _ENVIRONMENT_SPACE * len(self.environments)
            + _STEP_SPACE * len(self.steps)
        )

    def missing(self, tools: Tools, java: Path) -> "InstallPlan":
        """Return those that are not installed as the checkout's locks say, for this `java`."""
        return InstallPlan(
            tuple(part for part in self.programs if not go.is_current(tools, part)),
            tuple(part for part in self.jars if not jars.is_current(tools, part)),
            tuple(part for part in self.environments if not environments.is_current(tools, part)),
            tuple(part for part in self.steps if not part.is_current(tools, java)),
        )


def install(
    plan: InstallPlan, root: Path, environment: Mapping[str, str], on_report: OnReport
) -> None:
    """Install below `root` those of `plan` that are missing; a moment where none is.

    `environment` is the caller's. Two at a time wait for each other. Raises PlatformError in one
    line: what the machine lacks, before anything is installed, or what failed. What was complete
    by then stays, and the next call goes on from there; so it does after Ctrl-C, which ends all
    that was started.
    """
    tools = Tools(root)
    java = find_java(environment)
    if not plan.missing(tools, java):
        return
    with _one_at_a_time(tools, on_report):
        missing = plan.missing(tools, java)
        require_space({root: missing.space})
        work = _Installation(plan, missing, tools, java, environment, on_report)
        run_interruptible(work.all(work.downloads()))


@dataclass(frozen=True, slots=True)
class _Installation:
    """One installation of what is missing."""

    plan: InstallPlan
    missing: InstallPlan
    tools: Tools
    java: Path
    environment: Mapping[str, str]
    on_report: OnReport

    def downloads(self) -> Downloads:
        """Return what is to run; PlatformError where the machine lacks a program for it."""
        uv = find_uv(self.tools, self.environment)
        building: list[Start] = []
        others: list[Start] = []
        if self.missing.programs:
            building.append(partial(self._build, go.find_go(self.environment), uv))
        if self.missing.jars:
            maven = find_maven(self.environment, self.java)
            others.append(partial(self._copy, Maven(maven, self.java, self.environment)))
        if self.missing.environments:
            others.append(partial(self._make, uv))
        return building, others

    async def all(self, downloads: Downloads) -> None:
        """Run all of it; raises the first failure, which ends the rest."""
        building, others = downloads
        try:
            await _at_once([*building, partial(self._serve, others)])
        except ExceptionGroup as failures:
            raise _first(failures) from None

    async def _serve(self, downloads: list[Start]) -> None:
        """Run what does not need Go, and then what needs all of that."""
        await _at_once(downloads)
        for part in self.plan.steps:
            # Only now: what was just installed may have changed it.
            if not part.is_current(self.tools, self.java):
                with reported(part.name, self.on_report) as reporter:
                    await part.install(self.tools, self.java, self.environment, reporter.doing)

    async def _build(self, toolchain: Path | None, uv: Path) -> None:
        for program in self.missing.programs:
            with reported(f"bin/{program.name}", self.on_report) as reporter:
                if toolchain is None:
                    toolchain = await go.install_toolchain(
                        self.tools, uv, self.environment, reporter
                    )
                await go.build(self.tools, program, toolchain, self.environment, reporter)
        with reported("cache/go", self.on_report, done="removed"):
            await go.remove_caches(self.tools)

    async def _copy(self, maven: Maven) -> None:
        # One after the other: two Mavens at a time would write to one repository.
        for jar_set in self.missing.jars:
            with reported(f"jars/{jar_set.directory}", self.on_report) as reporter:
                await jars.install(self.tools, jar_set, maven, reporter)

    async def _make(self, uv: Path) -> None:
        for venv in self.missing.environments:
            with reported(f"venvs/{venv.name}", self.on_report) as reporter:
                await environments.install(self.tools, venv, uv, self.environment, reporter)


async def _at_once(work: list[Start]) -> None:
    async with asyncio.TaskGroup() as group:
        for start in work:
            group.create_task(start())


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """Return the first of the failures that are no PlatformError, or of all."""
    known, unknown = failures.split(PlatformError)
    group = unknown or known or failures
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


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
