"""Whether the disk has room for what is about to be written there."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.local.errors import PlatformError

GIB = 2**30


def require_space(needed: Mapping[Path, int]) -> None:
    """Raise PlatformError where a disk has less room than its directories need together.

    `needed` is bytes by directory; one that does not exist counts where it will be made.
    """
    by_disk: dict[int, dict[Path, int]] = {}
    for directory, size in needed.items():
        disk = _existing(directory).stat().st_dev
        by_disk.setdefault(disk, {})[directory] = size
    for directories in by_disk.values():
        wanted = sum(directories.values())
        free = shutil.disk_usage(_existing(next(iter(directories)))).free
        if free < wanted:
            raise PlatformError(too_small(list(directories), wanted, free))


def too_small(directories: list[Path], wanted: int, free: int) -> str:
    """Return the line that says which disk lacks room, and what to do."""
    places = " and ".join(map(str, directories))
    return (
        f"the disk of {places} has {free / GIB:.1f} GiB free, "
        f"and {wanted / GIB:.1f} GiB are needed: make room, or name another disk's directory with "
        "PLATFORM_HOME"
    )


def _existing(directory: Path) -> Path:
    """Return the directory or the nearest one above it that exists."""
    return next(path for path in (directory, *directory.parents) if path.exists())
