"""Programs that only pretend: what an installer runs, without a download."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diabetes_platform.local.install.report import Report, Reporter, State
from diabetes_platform.local.install.tools import Tools

Program = Callable[[Path, str], Path]


class Reports(list[Report]):
    """All that was reported, to look at afterwards."""

    def texts(self, state: State) -> list[str]:
        return [report.text for report in self if report.state == state]


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path / "tools")


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def reporter(reports: Reports) -> Reporter:
    return Reporter("part", reports.append)


@pytest.fixture
def program() -> Program:
    """Writes an executable shell script."""

    def write(path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write
