"""A platform of a test's own: a fresh home and ports that nobody uses."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.ports import require_free
from diabetes_platform.settings import PlatformSettings, Port

LARGEST_OFFSET = 20_000


def free_offset() -> int:
    """An offset at which all of the platform's ports are free."""
    while True:
        offset = 1 + secrets.randbelow(LARGEST_OFFSET)
        try:
            for port in Port:
                require_free(port + offset, "the test")
        except LauncherError:
            continue
        return offset


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[PlatformSettings]:
    """Settings of a fresh home; environment and umask are put back afterwards."""
    before = dict(os.environ)
    umask = os.umask(0o022)
    yield PlatformSettings(home=tmp_path, port_offset=free_offset())
    os.umask(umask)
    os.environ.clear()
    os.environ.update(before)
