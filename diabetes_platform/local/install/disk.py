"""Checks of free disk space before an installation or a start."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.local.errors import PlatformError

GIB = 2**30


def require_space(needed: Mapping[Path, int]) -> None:
    """Raise PlatformError if a disk has less free space than its directories need together.

    `needed` is bytes by directory. A directory that does not exist counts for the disk of its
    nearest existing parent.
    """
    disks: dict[int, dict[Path, int]] = {}
    for directory, size in needed.items():
        device = _existing(directory).stat().st_dev
        disks.setdefault(device, {})[directory] = size
    for sizes in disks.values():
        required = sum(sizes.values())
        free = shutil.disk_usage(_existing(next(iter(sizes)))).free
        if free < required:
            raise PlatformError(space_error(list(sizes), required, free))


def space_error(directories: list[Path], required: int, free: int) -> str:
    """Return the message for a disk that is too small, with what to do."""
    return (
        f"the disk of {' and '.join(map(str, directories))} has {free / GIB:.1f} GiB free, "
        f"and {required / GIB:.1f} GiB are needed: make room, or name another disk's directory "
        "with PLATFORM_HOME"
    )


def _existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())
