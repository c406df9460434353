"""A lake and a source file in a temporary directory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diabetes_platform.lake.delta import Lake

Save = Callable[[bytes | str], Path]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "patients.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def chained_errors(error: BaseException) -> list[BaseException]:
    """Return all causes and contexts of `error`, which a log would show."""
    direct = [e for e in (error.__cause__, error.__context__) if e is not None]
    return direct + [indirect for e in direct for indirect in chained_errors(e)]
