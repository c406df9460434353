"""Stamp files of completed installations: the digest of the locks, and the installed files."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

STAMP_FILE = "locked-by"

Signature = tuple[int, int]
"""Size in bytes and modification time in ns: detects nearly every change without reading."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """The digest of an installation's locks, and the signatures of its files by name."""

    digest: str
    files: dict[str, Signature] = field(default_factory=dict)

    @classmethod
    def of(cls, digest: str, files: Iterable[Path]) -> "Stamp":
        """Return the stamp of `files` in their current state."""
        return cls(digest, {file.name: signature(file) for file in files})

    def write(self, path: Path) -> None:
        """Write the stamp; this is the last step of an installation."""
        path.write_text(json.dumps({"digest": self.digest, "files": self.files}), encoding="utf-8")

    def changed(self, files: Iterable[Path]) -> set[str]:
        """Return the names of files that were added, removed or changed since the stamp."""
        signatures = {file.name: signature(file) for file in files}
        names = signatures.keys() | self.files.keys()
        return {name for name in names if signatures.get(name) != self.files.get(name)}


def read_stamp(path: Path) -> Stamp | None:
    """Return the stamp at `path`, or None if there is no readable stamp."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {name: (size, changed) for name, (size, changed) in content["files"].items()}
        return Stamp(content["digest"], files)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Incomplete, or in the format of an older version: the part is installed again.
        return None


def signature(file: Path) -> Signature:
    """Return the size and the modification time of `file`."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def digest_of(*parts: str | Path) -> str:
    """Return one SHA-256 over texts and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
