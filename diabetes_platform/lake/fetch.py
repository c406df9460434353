"""Sources (path, http(s):// or s3:// URL) fetched as local files with their content hash.

No message contains a URL's user, password or query.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from diabetes_platform.contract.s3 import DEFAULT_S3, S3
from diabetes_platform.contract.tables import batch_id_of
from diabetes_platform.lake.source_files import SourceError

_SCHEMES = frozenset({"http", "https", "s3"})
_ALLOWED = "allowed: the http(s):// or s3:// URL of a CSV or Parquet file"
_TIMEOUT_SECONDS = 30.0
# At level INFO, httpx logs URLs with their query, which may hold secrets.
logging.getLogger("httpx").addFilter(lambda record: record.levelno > logging.INFO)


def public_name(url: str) -> str:
    """Return `url` without user, password and query, which may hold secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def download(url: str, target: Path, s3: S3 = DEFAULT_S3) -> None:
    """Download `url` to the file `target`; `s3` configures `s3://` URLs.

    Raises SourceError, without secrets of the URL, if the URL is not allowed or not readable, and
    StorageError if S3 fails.
    """
    parts = _split(url)
    if parts is None or not parts.hostname:
        raise SourceError(f"source: the URL cannot be parsed; {_ALLOWED}")
    if parts.scheme not in _SCHEMES:
        raise SourceError(f"source: the URL has the scheme {parts.scheme!r}; {_ALLOWED}")
    if "@" in parts.netloc:
        raise SourceError(
            f"{public_name(url)}: the URL contains a user or password; allowed: none, "
            "because the configuration of the run would keep it"
        )
    fault = _from_s3(url, target, s3) if parts.scheme == "s3" else _from_http(url, target)
    if fault is not None:
        raise SourceError(f"{public_name(url)}: cannot be read: {fault}; {_ALLOWED}")


def _split(url: str) -> SplitResult | None:
    """Split `url`; None on failure, because the error would quote a possible password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _from_http(url: str, target: Path) -> str | None:
    """Download; return a description of the failure, because httpx's errors quote the URL."""
    import httpx

    headers = {"Accept-Encoding": "identity"}
    request = httpx.stream(
        "GET", url, follow_redirects=True, timeout=_TIMEOUT_SECONDS, headers=headers
    )
    try:
        with request as response, target.open("wb") as file:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                file.write(chunk)
    except httpx.HTTPStatusError as error:
        return f"HTTP status {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    return None


def _from_s3(url: str, target: Path, s3: S3) -> str | None:
    """Download; return a description of the failure. The key is used as written, not decoded."""
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    bucket, _, key = url.partition("://")[2].partition("/")
    try:
        with s3.errors(public_name(url)):
            chunks = obstore.get(from_url(f"s3://{bucket}", **s3.for_obstore()), key).stream()
            with target.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
    except (BaseError, ValueError, OSError) as error:
        # For a missing object obstore raises a FileNotFoundError without the errno of disk errors.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return type(error).__name__
    return None


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """A source as a local file; `name` contains no credentials.

    `state` is the file's state before hashing: while it is unchanged, the rows belong to the hash.
    """

    path: Path
    name: str
    content_hash: str
    state: tuple[int, ...]

    @property
    def batch_id(self) -> str:
        """The short name of the batch: 12 hex digits of the content hash."""
        return batch_id_of(self.content_hash)

    def change_error(self) -> SourceError | None:
        """Return an error if the file has changed since it was hashed, else None."""
        with suppress(OSError):
            if _state_of(self.path) == self.state:
                return None
        return SourceError(
            f"{self.name}: the file changed while it was read; allowed: a complete file"
        )


@contextmanager
def fetch(source: str, s3: S3 = DEFAULT_S3) -> Iterator[FetchedSource]:
    """Yield `source` as a local file; a URL is downloaded to a temporary file.

    `s3` configures `s3://` URLs. Raises SourceError if the source does not exist or cannot be read,
    and StorageError if S3 fails.
    """
    if "://" in source and not source.startswith("file://"):
        with tempfile.TemporaryDirectory(prefix="diabetes-source-") as directory:
            target = Path(directory) / "source"
            download(source, target, s3)
            yield _hashed(target, public_name(source))
        return
    path = Path(source.removeprefix("file://")).expanduser().absolute()
    if not path.is_file():
        problem = "is a directory" if path.is_dir() else "does not exist"
        raise SourceError(f"{path}: the path {problem}; allowed: a CSV or Parquet file or its URL")
    yield _hashed(path, str(path))


def _hashed(path: Path, name: str) -> FetchedSource:
    try:
        state = _state_of(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror
    else:
        return FetchedSource(path, name, digest, state)
    raise SourceError(f"{name}: the file cannot be read ({reason}); allowed: a CSV or Parquet file")


def _state_of(path: Path) -> tuple[int, ...]:
    """Return the file attributes that change with every write."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
