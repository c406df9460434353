"""The check of free disk space before an installation or a start."""

import shutil
from pathlib import Path

from diabetes_platform.errors import PlatformError

GIB = 2**30


def require_space(directory: Path, size: int) -> None:
    """Raise PlatformError unless the disk of `directory`, which may not exist, has `size` bytes."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise PlatformError(
            f"the disk of {directory} has {free / GIB:.1f} GiB free, and {size / GIB:.1f} GiB are "
            "needed: make room, or name another disk's directory with PLATFORM_HOME"
        )
