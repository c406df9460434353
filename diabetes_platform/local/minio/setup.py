"""Set-up of MinIO's buckets, users and policies, as `infra/minio/` declares them.

A bucket with `rewritable` prefixes has versioning for all other objects. The server allows one
version of an object, so it rejects a second write to these objects.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.minio.admin import StorageAdmin, StorageState
from diabetes_platform.local.setup import plain_passwords, run_setup
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, SetupSettings

DIRECTORY = PROJECT_ROOT / "infra" / "minio"
Name = TypeVar("Name")


@dataclass(frozen=True)
class StorageConfig:
    """The declared buckets and policies.

    `rewritable` has the prefixes of each bucket whose objects may be overwritten, or None for a
    bucket without versioning. `policies` are policy documents by user.
    """

    rewritable: Mapping[str, frozenset[str] | None]
    policies: Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """A change to make to the bucket, policy or user `name`."""

    kind: Literal["bucket", "versions", "limit", "policy", "user", "grant"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def setup_storage(
    endpoint: str, root_user: str, root_password: str, passwords: Mapping[str, str]
) -> list[Change]:
    """Configure MinIO at `endpoint` (an http URL) and return the applied changes.

    `passwords` has one for each user. Idempotent; other buckets and users stay unchanged. Raises
    PlatformError.
    """
    config = read(DIRECTORY)
    if set(passwords) != set(config.policies):
        users, allowed = (", ".join(sorted(names)) for names in (passwords, config.policies))
        raise PlatformError(f"storage: passwords are set for {users}; allowed: {allowed}")
    admin = StorageAdmin(endpoint, root_user, root_password)
    with admin.errors():
        changes = plan(config, admin.state(config.rewritable, passwords))
        for change in changes:
            _apply(change, admin, config, passwords)
    return changes


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


def plan(config: StorageConfig, state: StorageState) -> list[Change]:
    """Return the changes that bring `state` to `config`, in the order of their dependencies."""
    users = list(config.policies)
    versioned = {name: kept for name, kept in config.rewritable.items() if kept is not None}
    policies = {name: canonical(policy) for name, policy in config.policies.items()}
    existing = {name: canonical(policy) for name, policy in state.policies.items()}
    return [
        *(Change("bucket", name) for name in config.rewritable if name not in state.rewritable),
        *(Change("versions", name) for name in _differing(versioned, state.rewritable)),
        *([] if state.writes_once else [Change("limit", "one version of an object")]),
        *(Change("policy", name) for name in _differing(policies, existing)),
        *(Change("user", name) for name in users if name not in state.users),
        *(Change("grant", name) for name in users if state.grants.get(name) != name),
    ]


def canonical(policy: dict[str, Any]) -> str:
    """Return a policy as text that does not depend on the order of its lists."""
    return json.dumps(_ordered(policy), sort_keys=True)


def _apply(
    change: Change, admin: StorageAdmin, config: StorageConfig, passwords: Mapping[str, str]
) -> None:
    name = change.name
    match change.kind:
        case "bucket":
            admin.create_bucket(name)
        case "versions":
            admin.enable_versioning(name, rewritable=config.rewritable[name] or frozenset())
        case "limit":
            admin.limit_versions()
        case "policy":
            admin.put_policy(name, config.policies[name])
        case "user":
            admin.put_user(name, passwords[name])
        case "grant":
            admin.grant(name, policy=name)


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {name: _ordered(member) for name, member in value.items()}
    if isinstance(value, list):
        return sorted((_ordered(item) for item in value), key=json.dumps)
    return value


def _differing(config: Mapping[Name, object], state: Mapping[Name, object]) -> list[Name]:
    return [name for name, value in config.items() if state.get(name) != value]


def _setup(settings: PlatformSettings, secrets: SetupSettings) -> str:
    s3 = settings.s3
    changes = setup_storage(
        s3.endpoint or "",
        s3.user or "",
        s3.secret or "",
        plain_passwords(secrets.storage_passwords),
    )
    return f"storage: {', '.join(map(str, changes)) or 'up to date'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
