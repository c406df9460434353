"""The platform's generated passwords: made once, kept in a file that only its owner reads."""

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diabetes_platform.local.errors import PlatformError

POSTGRES = "postgres_password"
"""What opens PostgreSQL as its superuser."""
_BYTES = 24


@dataclass(frozen=True, slots=True)
class Secrets:
    """Passwords by what they open; left out of every representation."""

    values: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        """Return the password called `name`."""
        return self.values[name]


def load_or_create(path: Path, names: Iterable[str] = (POSTGRES,)) -> Secrets:
    """Return the secrets in `path`, those of `names` that are missing made now; PlatformError."""
    known = _read(path) if path.exists() else {}
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(_BYTES) for name in missing}
        _write(path, known)
    return Secrets(known)


def _read(path: Path) -> dict[str, str]:
    if path.stat().st_mode & 0o077:
        raise PlatformError(f"{path} can be read by others: run `chmod 600 {path}`")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        # The content itself must not appear in a message.
        raise PlatformError(f"{path} is damaged: restore it, or run `make clean`")
    return content


def _write(path: Path, values: Mapping[str, str]) -> None:
    """Write the file whole or not at all, never readable by others in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - opens a descriptor
        json.dump(values, file)
    new.rename(path)
