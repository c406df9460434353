"""Settings with a new home and unused ports."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.commands import free_offset


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[PlatformSettings]:
    """Settings of a new home; the environment and the umask are restored afterwards."""
    environment = dict(os.environ)
    umask = os.umask(0o022)
    yield PlatformSettings(home=tmp_path, port_offset=free_offset())
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
