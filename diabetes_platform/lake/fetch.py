"""Bringing a source (path, http(s):// or s3:// URL) to a local file, with its content hash."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from diabetes_platform.lake.sources import SourceError

REMOTE_SCHEMES = frozenset({"http", "https", "s3"})


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """A source as bytes on this machine: `name` carries no credentials."""

    path: Path
    name: str
    content_hash: str

    @property
    def batch_id(self) -> str:
        """The short name of the batch: 12 hex digits of the content hash."""
        return self.content_hash[:12]


@contextmanager
def fetched(source: str) -> Iterator[FetchedSource]:
    """Yield `source` as a local file, downloaded to a temporary one where it is a URL.

    Raises SourceError where it does not exist or cannot be read.
    """
    if urlsplit(source).scheme in REMOTE_SCHEMES:
        with tempfile.TemporaryDirectory(prefix="diabetes-source-") as directory:
            path = _download(source, Path(directory) / "source")
            yield _hashed(path, public_name(source))
        return
    path = Path(source.removeprefix("file://")).expanduser().absolute()
    if not path.is_file():
        given = "a directory" if path.is_dir() else "a path that does not exist"
        raise SourceError(f"{path}: given {given}, allowed a CSV or Parquet file or its URL")
    yield _hashed(path, str(path))


def public_name(url: str) -> str:
    """Return `url` without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    netloc = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def _download(url: str, target: Path) -> Path:
    base, _, name = url.rpartition("/")
    try:
        store = from_url(base, client_options={"allow_http": url.startswith("http://")})
        with target.open("wb") as file:
            for chunk in obstore.get(store, name).stream():
                file.write(chunk)
    except (BaseError, OSError, ValueError) as error:
        raise SourceError(
            f"{public_name(url)}: cannot be read ({type(error).__name__}), "
            "allowed the URL of a CSV or Parquet file"
        ) from error
    return target


def _hashed(path: Path, name: str) -> FetchedSource:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FetchedSource(path, name, digest)
