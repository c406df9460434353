"""Bringing a source (path, http(s):// or s3:// URL) to a local file, with its content hash."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.contract.s3 import CHAIN, S3
from diabetes_platform.contract.tables import batch_id_of
from diabetes_platform.lake.download import download, public_name
from diabetes_platform.lake.sources import SourceError


@dataclass(frozen=True, slots=True)
class FileState:
    """What a write changes of a file, however little it writes."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Look at `path`; OSError where there is none."""
        stat = path.stat()
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """A source as bytes on this machine: `name` carries no credentials.

    `state` is the file's as the hash was begun: rows belong to the hash while it stays so.
    """

    path: Path
    name: str
    content_hash: str
    state: FileState

    @property
    def batch_id(self) -> str:
        """The short name of the batch: 12 hex digits of the content hash."""
        return batch_id_of(self.content_hash)

    def change(self) -> SourceError | None:
        """Return the refusal of a file that was written to since it was hashed, else None."""
        try:
            unchanged = FileState.of(self.path) == self.state
        except OSError:
            unchanged = False
        if unchanged:
            return None
        return SourceError(
            f"{self.name}: given a file that changed while it was read, allowed a complete file"
        )


@contextmanager
def fetched(source: str, s3: S3 = CHAIN) -> Iterator[FetchedSource]:
    """Yield `source` as a local file, downloaded to a temporary one where it is a URL.

    `s3` says how an `s3://` URL is reached. Raises SourceError where it does not exist or cannot
    be read, and StorageError where S3 cannot be used as asked.
    """
    if "://" in source and not source.startswith("file://"):
        with tempfile.TemporaryDirectory(prefix="diabetes-source-") as directory:
            target = Path(directory) / "source"
            download(source, target, s3)
            yield _hashed(target, public_name(source))
        return
    path = Path(source.removeprefix("file://")).expanduser().absolute()
    if not path.is_file():
        given = "a directory" if path.is_dir() else "a path that does not exist"
        raise SourceError(f"{path}: given {given}, allowed a CSV or Parquet file or its URL")
    yield _hashed(path, str(path))


def _hashed(path: Path, name: str) -> FetchedSource:
    try:
        return _hash(path, name)
    except OSError as error:
        reason = error.strerror
    raise SourceError(
        f"{name}: given a file that cannot be read ({reason}), allowed a CSV or Parquet file"
    )


def _hash(path: Path, name: str) -> FetchedSource:
    state = FileState.of(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FetchedSource(path, name, digest, state)
