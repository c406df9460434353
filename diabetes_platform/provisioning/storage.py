"""Set-up of MinIO's buckets, users and policies, as `infra/minio/` declares them.

A bucket with `rewritable` prefixes has versioning for all other objects. The server allows one
version of an object, so it rejects a second write to these objects.
"""

import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, MinioException, S3Error
from minio.versioningconfig import VersioningConfig

from diabetes_platform.errors import PlatformError
from diabetes_platform.provisioning.command import plain_passwords, run_setup
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, SetupSettings

DIRECTORY = PROJECT_ROOT / "infra" / "minio"
_WRONG_CREDENTIALS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch"})
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_RETRIES = urllib3.Retry(4, backoff_factor=0.2, status_forcelist=[503])
"""A server that has just started answers 503 for a moment."""
_PROBE = "written-once.txt"
_CODE = re.compile(r'"Code":"(\w+)"')


@dataclass(frozen=True)
class StorageConfig:
    """The declared buckets and policies.

    `rewritable` has the prefixes of each bucket whose objects may be overwritten, or None for a
    bucket without versioning. `policies` are policy documents by user.
    """

    rewritable: Mapping[str, frozenset[str] | None]
    policies: Mapping[str, dict[str, Any]]


def read(directory: Path) -> StorageConfig:
    """Return the configuration in `storage.json` and in the policy file of each user."""
    document = json.loads((directory / "storage.json").read_text(encoding="utf-8"))
    return StorageConfig(
        rewritable={
            name: frozenset(bucket["rewritable"]) if "rewritable" in bucket else None
            for name, bucket in document["buckets"].items()
        },
        policies={
            path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((directory / "policies").glob("*.json"))
        },
    )


def setup_storage(
    endpoint: str, root_user: str, root_password: str, passwords: Mapping[str, str]
) -> list[str]:
    """Configure MinIO at `endpoint`, an http or https URL.

    Writes policies, grants and versioning in any case, and returns what else was missing or
    different. `passwords` has one for each user. Idempotent; other buckets and users stay
    unchanged. Raises PlatformError.
    """
    config = read(DIRECTORY)
    if set(passwords) != set(config.policies):
        users, allowed = (", ".join(sorted(names)) for names in (passwords, config.policies))
        raise PlatformError(f"storage: passwords are set for {users}; allowed: {allowed}")
    server = _Server(endpoint, root_user, root_password)
    with _errors(endpoint, root_user):
        changes = [f"bucket {name}" for name in server.ensure_buckets(config.rewritable)]
        versioned = next(name for name, kept in config.rewritable.items() if kept is not None)
        if server.ensure_written_once(versioned):
            changes.append("limit one version of an object")
        for user, policy in config.policies.items():
            if server.ensure_user(user, passwords[user], policy):
                changes.append(f"user {user}")
    return changes


class _Server:
    """MinIO, administered as its root user.

    Avoids needless calls with encrypted bodies (users, settings): each takes 64 MiB of MinIO's
    memory for minutes.
    """

    def __init__(self, endpoint: str, root_user: str, root_password: str) -> None:
        parts = urlsplit(endpoint)
        self._connection: Mapping[str, Any] = {
            "endpoint": parts.netloc,
            "secure": parts.scheme == "https",
            "http_client": urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES),
        }
        self._client = Minio(access_key=root_user, secret_key=root_password, **self._connection)
        credentials = StaticProvider(root_user, root_password)
        self._admin = MinioAdmin(credentials=credentials, **self._connection)

    def ensure_buckets(self, rewritable: Mapping[str, frozenset[str] | None]) -> list[str]:
        """Create the missing buckets, set the versioning of all, and return the created ones."""
        existing = {bucket.name for bucket in self._client.list_buckets() or ()}
        missing = [name for name in rewritable if name not in existing]
        for name in missing:
            self._client.make_bucket(bucket_name=name)
        for name, prefixes in rewritable.items():
            if prefixes is not None:
                config = VersioningConfig(ENABLED, excluded_prefixes=sorted(prefixes))
                self._client.set_bucket_versioning(bucket_name=name, config=config)
        return missing

    def ensure_written_once(self, bucket: str) -> bool:
        """Let the server reject second versions; returns False if it does so already."""
        text = b"The storage set-up writes this object to verify that objects are written once.\n"
        # The object may exist from an earlier run.
        for _ in range(2):
            try:
                self._client.put_object(
                    bucket_name=bucket, object_name=_PROBE, data=io.BytesIO(text), length=len(text)
                )
            except S3Error as error:
                if error.code != "MaxVersionsExceeded":
                    raise
                return False
        self._admin.config_set("api", {"object_max_versions": "1"})
        return True

    def ensure_user(self, name: str, password: str, policy: dict[str, Any]) -> bool:
        """Write the user's only policy; return whether the user or the password had to change."""
        self._admin.policy_add(name, policy=policy)
        changed = not self._accepts(name, password)
        if changed:
            self._admin.user_add(name, password)
        self._admin.policy_set(name, user=name)
        return changed

    def _accepts(self, user: str, password: str) -> bool:
        try:
            Minio(access_key=user, secret_key=password, **self._connection).list_buckets()
        except S3Error as error:
            if error.code not in _WRONG_CREDENTIALS:
                raise
            return False
        return True


@contextmanager
def _errors(endpoint: str, root_user: str) -> Iterator[None]:
    """Raise PlatformError in place of the client's own errors."""
    server = f"MinIO at {endpoint}"
    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        cause: Exception = error
        while isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
            cause = cause.reason
        reason = str(cause).partition("\n")[0]
        raise PlatformError(f"{server} does not answer: {reason}") from error
    except (MinioException, MinioAdminException) as error:
        match = _CODE.search(str(error))
        code = error.code if isinstance(error, S3Error) else match and match[1]
        if code in _WRONG_CREDENTIALS:
            raise PlatformError(
                f"{server} has no user {root_user} with this password ({code}): was it "
                "started with another MINIO_ROOT_USER or MINIO_ROOT_PASSWORD?"
            ) from error
        raise PlatformError(f"{server} refused: {str(error)[:300]}") from error


def _setup(settings: PlatformSettings, secrets: SetupSettings) -> str:
    s3 = settings.s3
    passwords = plain_passwords(secrets.storage_passwords)
    changes = setup_storage(s3.endpoint or "", s3.user or "", s3.secret or "", passwords)
    return f"storage: {', '.join(changes) or 'up to date'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
