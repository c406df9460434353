"""The stamp of a complete installation: what it was made from, and its files as they were then."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

NAME = "locked-by"

Signature = tuple[int, int]
"""Bytes and time of change in ns: differs for nearly every change, without reading a file."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """`digest` of the locks that it was made from, `files` by name with their signatures."""

    digest: str
    files: dict[str, Signature] = field(default_factory=dict)

    @classmethod
    def of(cls, digest: str, files: Iterable[Path]) -> "Stamp":
        """Return the stamp of `files` as they are now."""
        return cls(digest, {file.name: signature(file) for file in files})

    def write(self, path: Path) -> None:
        """Write the stamp; it is the last step of an installation."""
        path.write_text(json.dumps({"digest": self.digest, "files": self.files}), encoding="utf-8")

    def changed(self, files: Iterable[Path]) -> set[str]:
        """Return the names that came, went or changed since the stamp was written."""
        now = {file.name: signature(file) for file in files}
        names = now.keys() | self.files.keys()
        return {name for name in names if now.get(name) != self.files.get(name)}


def read_stamp(path: Path) -> Stamp | None:
    """Return the stamp at `path`; None where there is none or another program's."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {name: (size, changed) for name, (size, changed) in content["files"].items()}
        return Stamp(content["digest"], files)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Half written, or of a format that it once had: as good as none.
        return None


def signature(file: Path) -> Signature:
    """Return the size and the time of change of `file`."""
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
