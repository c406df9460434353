"""Checks of free disk space."""

import re
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.disk import GIB, require_space, space_error


def test_accepts_enough_free_space(tmp_path: Path) -> None:
    require_space({tmp_path / "not" / "yet": 1})


def test_adds_up_the_directories_of_one_disk(tmp_path: Path) -> None:
    size = 2**60
    with pytest.raises(PlatformError, match=r" 2147483648\.0 GiB are needed") as caught:
        require_space({tmp_path / "tools": size, tmp_path / "stack": size})
    directories = re.escape(f"{tmp_path / 'tools'} and {tmp_path / 'stack'}")
    assert re.match(f"the disk of {directories} has", str(caught.value))


def test_the_error_says_what_to_do() -> None:
    assert space_error([Path("/srv")], 3 * GIB, GIB) == (
        "the disk of /srv has 1.0 GiB free, and 3.0 GiB are needed: make room, or name another "
        "disk's directory with PLATFORM_HOME"
    )
