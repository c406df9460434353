"""A lake and a source in a directory of the test's own."""

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


def behind(error: BaseException) -> list[BaseException]:
    """Return every error that a log of `error` could show besides it."""
    direct = [e for e in (error.__cause__, error.__context__) if e is not None]
    return direct + [more for e in direct for more in behind(e)]
