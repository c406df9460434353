"""Room on the disk: one line that names the place, before anything is written."""

import re
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.disk import GIB, require_space, too_small


def test_enough_room_is_not_worth_a_word(tmp_path: Path) -> None:
    require_space({tmp_path / "not" / "yet": 1})


def test_directories_on_one_disk_count_together(tmp_path: Path) -> None:
    half = 2**60
    with pytest.raises(PlatformError, match=r" 2147483648\.0 GiB are needed") as caught:
        require_space({tmp_path / "tools": half, tmp_path / "stack": half})
    named = re.escape(f"{tmp_path / 'tools'} and {tmp_path / 'stack'}")
    assert re.match(f"the disk of {named} has", str(caught.value))


def test_the_line_says_what_to_do() -> None:
    assert too_small([Path("/srv")], 3 * GIB, GIB) == (
        "the disk of /srv has 1.0 GiB free, and 3.0 GiB are needed: make room, or name another "
        "disk's directory with PLATFORM_HOME"
    )
