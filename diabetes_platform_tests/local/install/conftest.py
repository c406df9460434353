"""Fixtures of the installation tests: fake installer programs, and recorded progress events."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from diabetes_platform.local.install.progress import StepEvent, StepProgress, StepStatus
from diabetes_platform.local.install.tools import Installer, Tools

WriteScript = Callable[[Path, str], Path]
JAVA = Path("/opt/jdk/bin/java")


class Events(list[StepEvent]):
    """The progress events of an installation."""

    def texts(self, status: StepStatus) -> list[str]:
        return [event.text for event in self if event.status == status]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path / "tools")


@pytest.fixture
def events() -> Events:
    return Events()


class MakeInstaller:
    """Creates installers of `tools` that record their events."""

    def __init__(self, tools: Tools, events: Events) -> None:
        self._tools, self._events = tools, events

    def __call__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        uv: Path = Path("/missing/uv"),
        maven: Path | None = None,
    ) -> Installer:
        on_event = self._events.append
        return Installer(self._tools, JAVA, environment or {}, uv, maven, on_event)


@pytest.fixture
def installer(tools: Tools, events: Events) -> MakeInstaller:
    """Return a function that creates an installer with an environment and programs."""
    return MakeInstaller(tools, events)


@pytest.fixture
def progress(events: Events) -> StepProgress:
    return StepProgress("step", events.append)


@pytest.fixture
def write_script() -> WriteScript:
    """Return a function that writes an executable shell script and returns its path."""

    def write(path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write
