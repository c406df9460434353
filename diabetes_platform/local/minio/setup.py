"""Buckets, users and policies of `infra/minio/`: read, compared with a MinIO's, set where needed.

A bucket that says what is `rewritable` in it keeps versions of everything else, and the server
keeps one version of an object: so that is written once, and a second write is refused.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.minio.server import Found, MinioServer
from diabetes_platform.local.setup import plain_passwords, run_setup
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings, SetupSettings

DIRECTORY = PROJECT_ROOT / "infra" / "minio"
Name = TypeVar("Name")


@dataclass(frozen=True)
class Storage:
    """What the platform's object storage should be.

    `rewritable`: of each bucket the prefixes whose objects may be written again; None where it
    keeps no versions at all. `policies`: documents by user.
    """

    rewritable: Mapping[str, frozenset[str] | None]
    policies: Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One thing to set; `name` says of what."""

    kind: Literal["bucket", "versions", "limit", "policy", "user", "grant"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def setup_storage(
    endpoint: str, root_user: str, root_password: str, passwords: Mapping[str, str]
) -> list[Change]:
    """Make the MinIO at `endpoint` (an http URL) as `infra/minio/` says; return what was changed.

    `passwords` are the users'. Buckets and users besides are left alone. Raises PlatformError.
    """
    wanted = read(DIRECTORY)
    if set(passwords) != set(wanted.policies):
        given, allowed = (", ".join(sorted(names)) for names in (passwords, wanted.policies))
        raise PlatformError(f"storage: given passwords of {given}; policies are there of {allowed}")
    server = MinioServer(endpoint, root_user, root_password)
    with server.errors():
        changes = plan(wanted, server.look(wanted.rewritable, passwords))
        for change in changes:
            _make(change, server, wanted, passwords)
    return changes


def read(directory: Path) -> Storage:
    """Return what the files ask for: `storage.json`, and a policy file for each user."""
    document = json.loads((directory / "storage.json").read_text(encoding="utf-8"))
    return Storage(
        rewritable={
            name: frozenset(bucket["rewritable"]) if "rewritable" in bucket else None
            for name, bucket in document["buckets"].items()
        },
        policies={
            path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((directory / "policies").glob("*.json"))
        },
    )


def plan(wanted: Storage, found: Found) -> list[Change]:
    """Return what to set, each step after those that it needs."""
    users = list(wanted.policies)
    versioned = {name: kept for name, kept in wanted.rewritable.items() if kept is not None}
    policies = {name: canonical(policy) for name, policy in wanted.policies.items()}
    there = {name: canonical(policy) for name, policy in found.policies.items()}
    return [
        *(Change("bucket", name) for name in wanted.rewritable if name not in found.rewritable),
        *(Change("versions", name) for name in _differing(versioned, found.rewritable)),
        *([] if found.writes_once else [Change("limit", "one version of an object")]),
        *(Change("policy", name) for name in _differing(policies, there)),
        *(Change("user", name) for name in users if name not in found.users),
        *(Change("grant", name) for name in users if found.grants.get(name) != name),
    ]


def canonical(policy: dict[str, Any]) -> str:
    """Return a policy as text in which the order of a list makes no difference."""
    return json.dumps(_ordered(policy), sort_keys=True)


def _make(
    change: Change, server: MinioServer, wanted: Storage, passwords: Mapping[str, str]
) -> None:
    name = change.name
    match change.kind:
        case "bucket":
            server.make_bucket(name)
        case "versions":
            server.keep_versions(name, rewritable=wanted.rewritable[name] or frozenset())
        case "limit":
            server.keep_one_version()
        case "policy":
            server.put_policy(name, wanted.policies[name])
        case "user":
            server.put_user(name, passwords[name])
        case "grant":
            server.grant(name, policy=name)


def _ordered(part: object) -> object:
    if isinstance(part, dict):
        return {key: _ordered(value) for key, value in part.items()}
    if isinstance(part, list):
        return sorted((_ordered(each) for each in part), key=json.dumps)
    return part


def _differing(wanted: Mapping[Name, object], found: Mapping[Name, object]) -> list[Name]:
    return [name for name, value in wanted.items() if found.get(name) != value]


def _setup(settings: PlatformSettings, given: SetupSettings) -> str:
    s3 = settings.s3
    changes = setup_storage(
        s3.endpoint or "", s3.user or "", s3.secret or "", plain_passwords(given.storage_passwords)
    )
    return f"storage: {', '.join(map(str, changes)) or 'as it should be'}"


if __name__ == "__main__":
    sys.exit(run_setup(_setup))
