"""The installation plan: the parts of the servers' software, and how they are installed."""

import asyncio
import fcntl
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install import go, jars, venvs
from diabetes_platform.local.install.disk import GIB, require_space
from diabetes_platform.local.install.go import Program
from diabetes_platform.local.install.jars import JarSet
from diabetes_platform.local.install.java import find_java, find_maven
from diabetes_platform.local.install.progress import OnEvent, StepEvent, StepStatus
from diabetes_platform.local.install.subprocesses import run_interruptible
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.install.venvs import Venv, require_uv

_BUILD_SPACE = 3 * GIB
_JARS_SPACE = GIB // 4
_ENVIRONMENT_SPACE = 3 * GIB // 2
_STEP_SPACE = GIB // 4


@dataclass(frozen=True, slots=True)
class InstallStep:
    """A step that builds something from the installed jars and environments."""

    name: str
    is_current: Callable[[Tools, Path], bool]
    install: Callable[[Installer], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """The parts to install."""

    programs: tuple[Program, ...] = ()
    jars: tuple[JarSet, ...] = ()
    environments: tuple[Venv, ...] = ()
    steps: tuple[InstallStep, ...] = ()

    def __add__(self, other: "InstallPlan") -> "InstallPlan":
        return InstallPlan(
            self.programs + other.programs,
            self.jars + other.jars,
            self.environments + other.environments,
            self.steps + other.steps,
        )

    def __bool__(self) -> bool:
        return self != InstallPlan()

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
            tuple(part for part in self.environments if not venvs.is_current(tools, part)),
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
        require_space(root, missing.space)
        require_uv(tools)
        maven = find_maven(environment, java) if missing.jars else None
        installer = Installer(tools, java, environment, maven, on_event)
        run_interruptible(_install(plan, missing, installer))


async def _install(plan: InstallPlan, missing: InstallPlan, installer: Installer) -> None:
    """Run all installations concurrently; the first failure cancels the rest and is raised."""

    async def install_jars() -> None:
        # One at a time: two Maven processes must not write to the same local repository.
        for jar_set in missing.jars:
            await jars.install(installer, jar_set)

    async def install_environments() -> None:
        for venv in missing.environments:
            await venvs.install(installer, venv)

    async def install_the_rest() -> None:
        async with asyncio.TaskGroup() as downloads:
            downloads.create_task(install_jars())
            downloads.create_task(install_environments())
        for step in plan.steps:
            # Checked here, because the jars or environments may just have changed.
            if not step.is_current(installer.tools, installer.java):
                await step.install(installer)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(go.build_all(installer, missing.programs))
            group.create_task(install_the_rest())
    except ExceptionGroup as failures:
        raise _first(failures) from None


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
