"""The generated passwords of the platform, in a file that only its owner may read."""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import write_private

POSTGRES = "postgres_password"
"""The password of PostgreSQL's superuser."""
_BYTES = 24


@dataclass(frozen=True, slots=True)
class Secrets:
    """Passwords by name; `repr` does not show them."""

    values: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        """Return a password."""
        return self.values[name]


def load_or_create(path: Path, names: Iterable[str] = (POSTGRES,)) -> Secrets:
    """Return the secrets in `path`, and generate those of `names` that are missing.

    Raises PlatformError if others may read the file or it is damaged.
    """
    values = dict(_read(path)) if path.exists() else {}
    missing = [name for name in names if name not in values]
    if missing:
        values |= {name: secrets.token_urlsafe(_BYTES) for name in missing}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps(values))
    return Secrets(values)


def parse_secrets(text: str, source: str) -> Secrets:
    """Return the secrets in a JSON object; PlatformError names `source` if it is not one."""
    values = _parse(text)
    if values is None:
        raise PlatformError(f"{source} is not a JSON object of texts")
    return Secrets(values)


def _read(path: Path) -> Mapping[str, str]:
    if path.stat().st_mode & 0o077:
        raise PlatformError(f"{path} can be read by others: run `chmod 600 {path}`")
    values = _parse(path.read_text(encoding="utf-8"))
    if values is None:
        raise PlatformError(f"{path} is damaged: restore it, or run `make clean`")
    return values


def _parse(text: str) -> dict[str, str] | None:
    """Return the values, None if they are damaged; a message must not show the text."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        return None
    return content
