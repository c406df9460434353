"""The check of free disk space."""

import re
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.disk import require_space


def test_accepts_enough_free_space(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)


def test_the_error_says_how_much_is_needed_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        require_space(tmp_path / "stack", 2**60)
    assert re.fullmatch(
        rf"the disk of {re.escape(str(tmp_path / 'stack'))} has \d+\.\d GiB free, and "
        r"1073741824\.0 GiB are needed: make room, or name another disk's directory with "
        "PLATFORM_HOME",
        str(caught.value),
    )
