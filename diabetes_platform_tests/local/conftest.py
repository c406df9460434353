"""A platform of a test's own: a fresh home and ports that nobody uses."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.commands import free_offset


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[PlatformSettings]:
    """Settings of a fresh home; environment and umask are put back afterwards."""
    before = dict(os.environ)
    umask = os.umask(0o022)
    yield PlatformSettings(home=tmp_path, port_offset=free_offset())
    os.umask(umask)
    os.environ.clear()
    os.environ.update(before)
