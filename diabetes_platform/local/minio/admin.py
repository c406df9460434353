"""MinIO's administration as its root user: the current state, and single changes to it."""

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

_WRONG_CREDENTIALS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch"})
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_RETRIES = urllib3.Retry(4, backoff_factor=0.2, status_forcelist=[503])
"""A server that has just started answers 503 for a moment."""
_PROBE = "written-once.txt"
_CODE = re.compile(r'"Code":"(\w+)"')


@dataclass(frozen=True)
class StorageState:
    """The state of a server; `rewritable` and `policies` are as in `StorageConfig`.

    `users` are the users with the expected password. `writes_once` is True if the server rejects a
    second version of an object. `grants` are the policies of each user, separated by commas.
    """

    rewritable: Mapping[str, frozenset[str] | None]
    writes_once: bool
    policies: Mapping[str, dict[str, Any]]
    users: frozenset[str]
    grants: Mapping[str, str]


class StorageAdmin:
    """Administers MinIO at `endpoint`, an http or https URL; call its methods inside `errors()`."""

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
        server = f"MinIO at {self._endpoint}"
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            raise PlatformError(f"{server} does not answer: {_reason(error)}") from error
        except (MinioException, MinioAdminException) as error:
            code = _code(error)
            if code in _WRONG_CREDENTIALS:
                raise PlatformError(
                    f"{server} has no user {self._root_user} with this password ({code}): was it "
                    "started with another MINIO_ROOT_USER or MINIO_ROOT_PASSWORD?"
                ) from error
            raise PlatformError(f"{server} refused: {str(error)[:300]}") from error

    def state(self, buckets: Iterable[str], passwords: Mapping[str, str]) -> StorageState:
        """Return the state of `buckets`, with the users that have these passwords.

        Avoids calls with encrypted responses (lists of users, settings): each takes 64 MiB of
        MinIO's memory for minutes.
        """
        existing = {bucket.name for bucket in self._client.list_buckets() or ()}
        rewritable = {name: self._rewritable(name) for name in buckets if name in existing}
        versioned = [name for name, prefixes in rewritable.items() if prefixes is not None]
        users = {name: self._user(name) for name in passwords}
        return StorageState(
            rewritable=rewritable,
            writes_once=bool(versioned) and self._rejects_a_second_version(versioned[0]),
            policies=json.loads(self._admin.policy_list()),
            users=frozenset(
                name
                for name, password in passwords.items()
                if users[name].get("status") == "enabled" and self._accepts(name, password)
            ),
            grants={name: user.get("policyName", "") for name, user in users.items()},
        )

    def limit_versions(self) -> None:
        """Make the server reject the second version of an object; takes effect immediately."""
        self._admin.config_set("api", {"object_max_versions": "1"})

    def create_bucket(self, name: str) -> None:
        """Create a bucket."""
        self._client.make_bucket(bucket_name=name)

    def enable_versioning(self, bucket: str, *, rewritable: frozenset[str]) -> None:
        """Enable versioning for all objects except those below the `rewritable` prefixes."""
        config = VersioningConfig(ENABLED, excluded_prefixes=sorted(rewritable))
        self._client.set_bucket_versioning(bucket_name=bucket, config=config)

    def put_policy(self, name: str, policy: dict[str, Any]) -> None:
        """Create or replace a policy."""
        self._admin.policy_add(name, policy=policy)

    def put_user(self, name: str, password: str) -> None:
        """Create and enable a user, or change its password."""
        self._admin.user_add(name, password)

    def grant(self, user: str, *, policy: str) -> None:
        """Set the policy of a user, which replaces all others."""
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

    def _rejects_a_second_version(self, bucket: str) -> bool:
        """Write a probe object up to twice; it may exist from an earlier run."""
        text = b"The storage set-up writes this object to verify that objects are written once.\n"
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
            info: dict[str, str] = json.loads(self._admin.user_info(name))
        except MinioAdminException as error:
            if _code(error) != "XMinioAdminNoSuchUser":
                raise
            return {}
        return info

    def _accepts(self, user: str, password: str) -> bool:
        try:
            self._client_of(user, password).list_buckets()
        except S3Error as error:
            if error.code not in _WRONG_CREDENTIALS:
                raise
            return False
        return True


def _code(error: Exception) -> str | None:
    if isinstance(error, MinioAdminException):
        match = _CODE.search(str(error))
        return match[1] if match else None
    return error.code if isinstance(error, S3Error) else None


def _reason(error: Exception) -> str:
    """Return the first line of the innermost cause."""
    while isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    return str(error).partition("\n")[0]
