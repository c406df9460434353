"""The platform's generated passwords: made once, kept in a file that only its owner reads."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError

_BYTES = 24


@dataclass(frozen=True, slots=True)
class Secrets:
    """Passwords by what they open; left out of every representation."""

    postgres_password: str = field(repr=False)


def load_or_create(path: Path) -> Secrets:
    """Return the secrets in `path`, made now where it is missing; raises LauncherError."""
    if not path.exists():
        _create(path, Secrets(postgres_password=secrets.token_urlsafe(_BYTES)))
    if path.stat().st_mode & 0o077:
        raise LauncherError(f"{path} can be read by others: run `chmod 600 {path}`")
    try:
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        # The content itself must not appear in a message.
        raise LauncherError(f"{path} is damaged: restore it, or run `make clean`") from error


def _create(path: Path, made: Secrets) -> None:
    """Write the file whole or not at all, never readable by others in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - opens a descriptor
        json.dump(asdict(made), file)
    new.rename(path)
