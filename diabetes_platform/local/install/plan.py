"""The installation plan: the parts of the servers' software, and how they are installed."""

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
from diabetes_platform.local.install.progress import (
    OnEvent,
    StepEvent,
    StepProgress,
    StepStatus,
    step_progress,
)
from diabetes_platform.local.install.subprocesses import run_interruptible
from diabetes_platform.local.install.tools import Tools

_BUILD_SPACE = 3 * GIB
_JARS_SPACE = GIB // 4
_ENVIRONMENT_SPACE = 3 * GIB // 2
_STEP_SPACE = GIB // 4

_Task = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class InstallStep:
    """A step that builds something from the installed jars and environments."""

    name: str
    is_current: Callable[[Tools, Path], bool]
    install: Callable[[Tools, Path, Mapping[str, str], StepProgress], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """The parts to install."""

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
        """Bytes of disk space that the installation needs, downloads included."""
        return (
            _BUILD_SPACE * bool(self.programs)
            + _JARS_SPACE * len(self.jars)
            + _ENVIRONMENT_SPACE * len(self.environments)
            + _STEP_SPACE * len(self.steps)
        )

    def missing(self, tools: Tools, java: Path) -> "InstallPlan":
        """Return the parts that are not installed or differ from the locks, for this `java`."""
        return InstallPlan(
            tuple(part for part in self.programs if not go.is_current(tools, part)),
            tuple(part for part in self.jars if not jars.is_current(tools, part)),
            tuple(part for part in self.environments if not environments.is_current(tools, part)),
            tuple(part for part in self.steps if not part.is_current(tools, java)),
        )


def install(
    plan: InstallPlan, root: Path, environment: Mapping[str, str], on_event: OnEvent
) -> None:
    """Install the missing parts of `plan` below `root`, up to three at a time.

    `environment` is the caller's. A second installation waits until the first one has ended. Raises
    a one-line PlatformError if the machine lacks a prerequisite, before any part is installed, or
    for the first failure. After a failure or Ctrl-C, which ends all child processes, completed
    parts stay, and the next call installs the rest.
    """
    tools = Tools(root)
    java = find_java(environment)
    if not plan.missing(tools, java):
        return
    with _installation_lock(tools, on_event):
        missing = plan.missing(tools, java)
        require_space({root: missing.space})
        installation = _Installation(plan, missing, tools, java, environment, on_event)
        run_interruptible(installation.run(*installation.tasks()))


@dataclass(frozen=True, slots=True)
class _Installation:
    """One installation of the missing parts."""

    plan: InstallPlan
    missing: InstallPlan
    tools: Tools
    java: Path
    environment: Mapping[str, str]
    on_event: OnEvent

    def tasks(self) -> tuple[list[_Task], list[_Task]]:
        """Return the builds with Go and the other downloads.

        Raises PlatformError if the machine lacks a program for one of them.
        """
        uv = find_uv(self.tools, self.environment)
        builds: list[_Task] = []
        downloads: list[_Task] = []
        if self.missing.programs:
            builds.append(partial(self._build_programs, go.find_go(self.environment), uv))
        if self.missing.jars:
            maven = Maven(find_maven(self.environment, self.java), self.java, self.environment)
            downloads.append(partial(self._install_jars, maven))
        if self.missing.environments:
            downloads.append(partial(self._install_environments, uv))
        return builds, downloads

    async def run(self, builds: list[_Task], downloads: list[_Task]) -> None:
        """Run all tasks concurrently; the first failure cancels the rest and is raised."""

        async def install_the_rest() -> None:
            await _gather(downloads)
            await self._run_steps()

        try:
            await _gather([*builds, install_the_rest])
        except ExceptionGroup as failures:
            raise _first(failures) from None

    async def _build_programs(self, toolchain: Path | None, uv: Path) -> None:
        for program in self.missing.programs:
            with step_progress(f"bin/{program.name}", self.on_event) as progress:
                if toolchain is None:
                    toolchain = await go.install_toolchain(
                        self.tools, uv, self.environment, progress
                    )
                await go.build(self.tools, program, toolchain, self.environment, progress)
        with step_progress("cache/go", self.on_event, result="removed"):
            await go.remove_caches(self.tools)

    async def _install_jars(self, maven: Maven) -> None:
        # One at a time: two Maven processes must not write to the same local repository.
        for jar_set in self.missing.jars:
            with step_progress(f"jars/{jar_set.directory}", self.on_event) as progress:
                await jars.install(self.tools, jar_set, maven, progress)

    async def _install_environments(self, uv: Path) -> None:
        for venv in self.missing.environments:
            with step_progress(f"venvs/{venv.name}", self.on_event) as progress:
                await environments.install(self.tools, venv, uv, self.environment, progress)

    async def _run_steps(self) -> None:
        for step in self.plan.steps:
            # Checked here, because the jars or environments may just have changed.
            if not step.is_current(self.tools, self.java):
                with step_progress(step.name, self.on_event) as progress:
                    await step.install(self.tools, self.java, self.environment, progress)


async def _gather(tasks: list[_Task]) -> None:
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(task())


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """Return the first unexpected exception, or else the first PlatformError."""
    expected, unexpected = failures.split(PlatformError)
    first = (unexpected or expected or failures).exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


@contextmanager
def _installation_lock(tools: Tools, on_event: OnEvent) -> Iterator[None]:
    """Hold the installation lock; the kernel releases it when the process ends."""
    tools.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tools.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting = "waiting for another installation"
            on_event(StepEvent("tools", StepStatus.WARNING, waiting, 0))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
