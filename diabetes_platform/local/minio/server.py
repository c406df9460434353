"""One MinIO server as its root user sees it: what it holds, and how each thing is set."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, MinioException, S3Error
from minio.versioningconfig import VersioningConfig

from diabetes_platform.local.errors import PlatformError

_NOT_THIS_USER = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch"})
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_RETRIES = urllib3.Retry(4, backoff_factor=0.2, status_forcelist=[503])
"""A server that has just started answers 503 for a moment."""
_PROBE = "written-once.txt"
_CODE = re.compile(r'"Code":"(\w+)"')


@dataclass(frozen=True)
class Found:
    """What a server holds: as `Storage`, with the users whose password is right.

    `writes_once`: whether a second version of an object is refused. `grants`: the policies of each
    user, with commas between them where they are several.
    """

    rewritable: Mapping[str, frozenset[str] | None]
    writes_once: bool
    policies: Mapping[str, dict[str, Any]]
    users: frozenset[str]
    grants: Mapping[str, str]


class MinioServer:
    """A MinIO at `endpoint`, an http or https URL. Calls belong inside `errors()`."""

    def __init__(self, endpoint: str, root_user: str, root_password: str) -> None:
        self._endpoint, self._root_user = endpoint, root_user
        self._secure = urlsplit(endpoint).scheme == "https"
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES)
        self._client = self._client_of(root_user, root_password)
        self._admin = MinioAdmin(
            endpoint=urlsplit(endpoint).netloc,
            credentials=StaticProvider(root_user, root_password),
            secure=self._secure,
            http_client=self._pool,
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise PlatformError in place of the client's own errors."""
        where = f"MinIO at {self._endpoint}"
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            raise PlatformError(f"{where} does not answer: {_reason(error)}") from error
        except (MinioException, MinioAdminException) as error:
            code = _code(error)
            if code in _NOT_THIS_USER:
                raise PlatformError(
                    f"{where} knows no user {self._root_user} with this password ({code}): was it "
                    "started with another MINIO_ROOT_USER or MINIO_ROOT_PASSWORD?"
                ) from error
            raise PlatformError(f"{where} refused: {str(error)[:300]}") from error

    def look(self, buckets: Iterable[str], passwords: Mapping[str, str]) -> Found:
        """Return what is there of `buckets`, and which users have these passwords.

        Calls that MinIO encrypts (lists of users, settings) are left out: each takes 64 MiB of its
        memory for minutes.
        """
        there = {bucket.name for bucket in self._client.list_buckets() or ()}
        rewritable = {name: self._rewritable(name) for name in buckets if name in there}
        versioned = [name for name, prefixes in rewritable.items() if prefixes is not None]
        users = {name: self._user(name) for name in passwords}
        return Found(
            rewritable=rewritable,
            writes_once=bool(versioned) and self._refuses_a_second_version(versioned[0]),
            policies=json.loads(self._admin.policy_list()),
            users=frozenset(
                name
                for name, password in passwords.items()
                if users[name].get("status") == "enabled" and self._opens(name, password)
            ),
            grants={name: user.get("policyName", "") for name, user in users.items()},
        )

    def keep_one_version(self) -> None:
        """Let the server refuse the second version of an object; it holds at once."""
        self._admin.config_set("api", {"object_max_versions": "1"})

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        self._client.make_bucket(bucket_name=name)

    def keep_versions(self, bucket: str, *, rewritable: frozenset[str]) -> None:
        """Keep versions of what is not below one of the `rewritable` prefixes."""
        config = VersioningConfig(ENABLED, excluded_prefixes=sorted(rewritable))
        self._client.set_bucket_versioning(bucket_name=bucket, config=config)

    def put_policy(self, name: str, policy: dict[str, Any]) -> None:
        """Add a policy or replace it."""
        self._admin.policy_add(name, policy=policy)

    def put_user(self, name: str, password: str) -> None:
        """Add a user, or give it this password and enable it."""
        self._admin.user_add(name, password)

    def grant(self, user: str, *, policy: str) -> None:
        """Give a user this policy and no other."""
        self._admin.policy_set(policy, user=user)

    def _client_of(self, user: str, password: str) -> Minio:
        return Minio(
            endpoint=urlsplit(self._endpoint).netloc,
            access_key=user,
            secret_key=password,
            secure=self._secure,
            http_client=self._pool,
        )

    def _rewritable(self, bucket: str) -> frozenset[str] | None:
        config = self._client.get_bucket_versioning(bucket_name=bucket)
        return frozenset(config.excluded_prefixes or ()) if config.status == ENABLED else None

    def _refuses_a_second_version(self, bucket: str) -> bool:
        """Write one object twice, the first time unless it is there from an earlier run."""
        text = b"Tells the set-up of the storage that what is here is written once.\n"
        for _ in range(2):
            try:
                self._client.put_object(
                    bucket_name=bucket, object_name=_PROBE, data=io.BytesIO(text), length=len(text)
                )
            except S3Error as error:
                if error.code != "MaxVersionsExceeded":
                    raise
                return True
        return False

    def _user(self, name: str) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(self._admin.user_info(name))
        except MinioAdminException as error:
            if _code(error) != "XMinioAdminNoSuchUser":
                raise
            return {}
        return found

    def _opens(self, user: str, password: str) -> bool:
        try:
            self._client_of(user, password).list_buckets()
        except S3Error as error:
            if error.code not in _NOT_THIS_USER:
                raise
            return False
        return True


def _code(error: Exception) -> str | None:
    if isinstance(error, MinioAdminException):
        found = _CODE.search(str(error))
        return found[1] if found else None
    return error.code if isinstance(error, S3Error) else None


def _reason(error: Exception) -> str:
    """Return the innermost cause in a line."""
    while isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    return str(error).partition("\n")[0]
