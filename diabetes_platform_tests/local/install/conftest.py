"""Fixtures of the installation tests: fake installer programs, and recorded progress events."""

from collections.abc import Callable
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


@pytest.fixture
def installer(tools: Tools, events: Events) -> Installer:
    """An installer of a caller without variables; it has no Maven."""
    return Installer(tools, JAVA, {}, None, events.append)


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
