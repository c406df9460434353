"""The account of PostgreSQL: never root, and able to access its files."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.account import Account, nobody, unprivileged
from diabetes_platform.local.postgres.data import binary
from diabetes_platform.local.postgres.server import Postgres

AS_ROOT = os.geteuid() == 0


def uid_inside(account: Account) -> int:
    result = subprocess.run(account.command("id", "-u"), capture_output=True, text=True, check=True)
    return int(result.stdout)


def closed_directory(tmp_path: Path) -> Path:
    """Create a directory that only its owner can enter, like /root."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed


def test_the_account_is_not_root(tmp_path: Path) -> None:
    assert uid_inside(unprivileged([tmp_path])) != 0


def test_the_account_has_a_name_for_initdb_to_find(tmp_path: Path) -> None:
    assert pwd.getpwuid(uid_inside(unprivileged([tmp_path]))).pw_name


@pytest.mark.parametrize(
    ("uid", "prefix"),
    [(pwd.getpwnam("daemon").pw_uid, ()), (54_321, ("unshare",))],
    ids=["user with a name", "uid without a name"],
)
def test_a_user_without_a_name_gets_a_user_namespace(
    monkeypatch: pytest.MonkeyPatch, uid: int, prefix: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    account = unprivileged([])
    assert (account.prefix[:1], account.uid) == (prefix, uid)


@pytest.mark.parametrize("tool", ["user namespace", "nobody"])
@pytest.mark.integration
def test_root_starts_a_server_in_a_directory_only_root_can_enter(tmp_path: Path, tool: str) -> None:
    data_dir = closed_directory(tmp_path) / "data"
    account = unprivileged([data_dir]) if tool == "user namespace" else nobody_or_self(data_dir)
    with Postgres(data_dir, free_port(), "secret", account=account) as server:
        assert server.create_database("diabetes")


@pytest.mark.integration
def test_takes_ownership_of_data_of_another_account(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    for account in (nobody_or_self(data_dir), unprivileged([data_dir])):
        with Postgres(data_dir, free_port(), "secret", account=account) as server:
            server.create_database("diabetes")
        assert data_dir.stat().st_uid == account.uid


def nobody_or_self(data_dir: Path) -> Account:
    """Return `nobody` for root, and the user itself otherwise."""
    paths = [data_dir, binary("postgres")]
    return nobody(paths) if AS_ROOT else unprivileged(paths)


def test_nobody_keeps_a_capability_only_for_closed_directories(tmp_path: Path) -> None:
    closed = closed_directory(tmp_path) / "data"
    assert "--ambient-caps=+dac_override" in nobody([closed]).prefix
    assert not any("caps" in option for option in nobody([Path("/usr/bin/env")]).prefix)
    assert nobody([closed]).uid == pwd.getpwnam("nobody").pw_uid
