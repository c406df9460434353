"""S3 as every program reaches it: endpoint, user, the libraries' options, and what a refusal means.

`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION` say it; what is
not given is found by the libraries' own chain: other variables, a role of the machine or pod.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

_RETRIES = 8
_RETRY_SECONDS = 20
"""Enough for a server that starts again, too little to hide one that is down."""
_CODE = re.compile(r"<Code>(\w+)</Code>")
_ORDINARY = frozenset({"NoSuchKey", "PreconditionFailed", "ConditionalRequestConflict"})
"""Answers that belong to reading and to conditional writes: the callers know them."""
_BUSY = frozenset({"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable"})
_METADATA_SERVICE = "169.254.169.254"
"""Where the chain ends: the machine's own role."""


class StorageError(RuntimeError):
    """S3 cannot be used as asked: one line that names the URL, endpoint and user, no secret."""


class StorageRefusedError(StorageError):
    """S3 says no, and will say it again: wrong credentials, a missing right, a missing bucket."""


class StorageUnavailableError(StorageError):
    """S3 does not answer, or not now."""


@dataclass(frozen=True, slots=True)
class S3:
    """An endpoint and a user of it; None leaves a part to the libraries' own chain."""

    endpoint: str | None = None
    user: str | None = None
    secret: str | None = field(default=None, repr=False)
    region: str | None = None

    def for_deltalake(self) -> dict[str, str]:
        """Return deltalake's `storage_options`; a commit is a conditional PUT."""
        given = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.user,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": self.region,
            "AWS_ALLOW_HTTP": "true" if self._plain else None,
        }
        return {
            **{name: value for name, value in given.items() if value},
            "AWS_CONDITIONAL_PUT": "etag",
            "max_retries": str(_RETRIES),
            "retry_timeout": f"{_RETRY_SECONDS}s",
        }

    def for_obstore(self) -> dict[str, Any]:
        """Return the keyword arguments of obstore's `from_url`."""
        given = {
            "endpoint": self.endpoint,
            "access_key_id": self.user,
            "secret_access_key": self.secret,
            "region": self.region,
            "client_options": {"allow_http": True} if self._plain else None,
        }
        return {
            **{name: value for name, value in given.items() if value},
            "retry_config": {
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            },
        }

    @contextmanager
    def errors(self, url: str) -> Iterator[None]:
        """Raise StorageError in place of a library's error that S3 is the cause of.

        The libraries' own texts have a hundred lines. Every other error passes as it is, and so do
        all errors of a `url` that is not S3's.
        """
        try:
            yield
        except Exception as error:
            told = storage_error(self, url, str(error)) if is_s3_url(url) else None
            if told is None:
                raise
            raise told from None

    @property
    def _plain(self) -> bool:
        return (self.endpoint or "").startswith("http://")


DEFAULT_S3 = S3()
"""AWS itself, as whoever the libraries' own chain finds."""


def is_s3_url(url: str) -> bool:
    """Whether `url` is an S3 URL and not a path."""
    return urlsplit(url).scheme in {"s3", "s3a"}


def storage_error(s3: S3, url: str, text: str) -> StorageError | None:
    """Return what a library's `text` says of S3 in one line; None where it says nothing of it."""
    where = f"{url} at {s3.endpoint or 'AWS'}"
    found = _CODE.search(text)
    if found is not None:
        return _answered(s3, where, urlsplit(url).netloc, found[1])
    if _METADATA_SERVICE in text:
        given = "no AWS_ACCESS_KEY_ID, and this machine has no role"
        return StorageRefusedError(f"{where}: given {given}, allowed a user with its secret")
    if "Missing SecretAccessKey" in text or "Missing AccessKeyId" in text:
        given = "AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY without the other"
        return StorageRefusedError(f"{where}: given {given}, allowed both or none")
    if "error sending request" in text or "HTTP error" in text:
        return StorageUnavailableError(
            f"{where}: the endpoint does not answer: check AWS_ENDPOINT_URL and that it runs"
        )
    return None


def _answered(s3: S3, where: str, bucket: str, code: str) -> StorageError | None:
    user = f"user {s3.user}" if s3.user else "the user"
    if code in _ORDINARY:
        return None
    if code in _BUSY:
        return StorageUnavailableError(f"{where}: the endpoint is overloaded ({code})")
    reasons = {
        "InvalidAccessKeyId": f"there is no {user}: check AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": f"AWS_SECRET_ACCESS_KEY is not that of {user}",
        "AccessDenied": f"{user} may not do this in bucket {bucket}, or there is no such bucket",
        "NoSuchBucket": f"there is no bucket {bucket}",
        "XMinioStorageFull": "the disk of the endpoint is full",
    }
    return StorageRefusedError(f"{where}: {reasons.get(code, f'{user} is refused')} ({code})")
