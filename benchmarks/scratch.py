"""The temporary directory of a benchmark, on the disk of the platform's home."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def scratch_directory(home: Path) -> Iterator[Path]:
    """Yield a directory below `home`, not in /tmp, which may be in memory; remove it afterwards."""
    (home / "bench").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home / "bench") as folder:
        yield Path(folder)
