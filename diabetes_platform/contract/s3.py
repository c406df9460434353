"""The connection to S3: endpoint, user, the options of each library, and explained errors.

It is configured by `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
`AWS_REGION`. The libraries' credential chain supplies the rest: other variables, or a role of the
machine or pod.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

LOCATION_PATTERN = r"^(/|s3a?://[^/])"
"""An absolute path or an S3 URL."""
_RETRIES = 8
_RETRY_SECONDS = 20
"""Long enough for a server to restart, but too short to hide an outage."""
_CODE = re.compile(r"<Code>(\w+)</Code>")
_EXPECTED = frozenset({"NoSuchKey", "PreconditionFailed", "ConditionalRequestConflict"})
"""Error codes of reads and conditional writes that the callers handle."""
_BUSY = frozenset({"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable"})
_METADATA_SERVICE = "169.254.169.254"
"""The last link of the credential chain: the machine's role."""


class StorageError(RuntimeError):
    """A failed use of S3: one line with URL, endpoint and user, without a secret."""


class PermanentStorageError(StorageError):
    """S3 rejects the request permanently: wrong credentials, missing right or missing bucket."""


class StorageUnavailableError(StorageError):
    """S3 does not answer, or is overloaded."""


@dataclass(frozen=True, slots=True)
class S3:
    """An endpoint and a user; the libraries' credential chain supplies each part that is None."""

    endpoint: str | None = None
    user: str | None = None
    secret: str | None = field(default=None, repr=False)
    region: str | None = None

    def for_deltalake(self) -> dict[str, str]:
        """Return deltalake's `storage_options`; a commit is a conditional PUT."""
        options = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.user,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": self.region,
            "AWS_ALLOW_HTTP": "true" if self._plain else None,
        }
        return {
            **{name: value for name, value in options.items() if value},
            "AWS_CONDITIONAL_PUT": "etag",
            "max_retries": str(_RETRIES),
            "retry_timeout": f"{_RETRY_SECONDS}s",
        }

    def for_obstore(self) -> dict[str, Any]:
        """Return the keyword arguments of obstore's `from_url`."""
        options = {
            "endpoint": self.endpoint,
            "access_key_id": self.user,
            "secret_access_key": self.secret,
            "region": self.region,
            "client_options": {"allow_http": True} if self._plain else None,
        }
        return {
            **{name: value for name, value in options.items() if value},
            "retry_config": {
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            },
        }

    @contextmanager
    def errors(self, url: str) -> Iterator[None]:
        """Raise StorageError in place of a library's error that S3 caused.

        The libraries' own messages have a hundred lines. Any other error passes unchanged, as does
        every error if `url` is not an S3 URL.
        """
        try:
            yield
        except Exception as error:
            cause = storage_error(self, url, str(error)) if is_s3_url(url) else None
            if cause is None:
                raise
            raise cause from None

    @property
    def _plain(self) -> bool:
        return (self.endpoint or "").startswith("http://")


DEFAULT_S3 = S3()
"""AWS, with the credentials that the libraries' chain finds."""


def is_s3_url(url: str) -> bool:
    """Whether `url` is an S3 URL and not a path."""
    return urlsplit(url).scheme in {"s3", "s3a"}


def storage_error(s3: S3, url: str, text: str) -> StorageError | None:
    """Return the S3 error in a library's message `text`; None if it has another cause."""
    where = f"{url} at {s3.endpoint or 'AWS'}"
    code = _CODE.search(text)
    if code is not None:
        return _answered(s3, where, urlsplit(url).netloc, code[1])
    if _METADATA_SERVICE in text:
        missing = "AWS_ACCESS_KEY_ID is not set, and this machine has no role"
        return PermanentStorageError(f"{where}: {missing}")
    if "Missing SecretAccessKey" in text or "Missing AccessKeyId" in text:
        return PermanentStorageError(
            f"{where}: AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is set without the other"
        )
    if "error sending request" in text or "HTTP error" in text:
        return StorageUnavailableError(
            f"{where}: the endpoint does not answer: check AWS_ENDPOINT_URL and that it runs"
        )
    return None


def _answered(s3: S3, where: str, bucket: str, code: str) -> StorageError | None:
    user = f"user {s3.user}" if s3.user else "the user"
    if code in _EXPECTED:
        return None
    if code in _BUSY:
        return StorageUnavailableError(f"{where}: the endpoint is overloaded ({code})")
    reasons = {
        "InvalidAccessKeyId": f"{user} does not exist: check AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": f"AWS_SECRET_ACCESS_KEY is not that of {user}",
        "AccessDenied": f"{user} may not do this in bucket {bucket}, or it does not exist",
        "NoSuchBucket": f"bucket {bucket} does not exist",
        "XMinioStorageFull": "the disk of the endpoint is full",
    }
    return PermanentStorageError(f"{where}: {reasons.get(code, f'{user} is refused')} ({code})")
