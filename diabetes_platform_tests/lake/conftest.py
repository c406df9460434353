"""A lake in a directory of the test's own."""

from pathlib import Path

import pytest

from diabetes_platform.lake.tables import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))
