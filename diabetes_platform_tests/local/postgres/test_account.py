"""Accounts: PostgreSQL never runs as root, and reaches its files all the same."""

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
    done = subprocess.run(account.command("id", "-u"), capture_output=True, text=True, check=True)
    return int(done.stdout)


def closed_directory(tmp_path: Path) -> Path:
    """A directory as below /root: only its owner may pass."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed


def test_the_account_is_not_root(tmp_path: Path) -> None:
    assert uid_inside(unprivileged([tmp_path])) != 0


def test_the_account_has_a_name_for_initdb_to_find(tmp_path: Path) -> None:
    assert pwd.getpwuid(uid_inside(unprivileged([tmp_path]))).pw_name


@pytest.mark.parametrize(
    ("uid", "becomes"),
    [(pwd.getpwnam("daemon").pw_uid, ()), (54_321, ("unshare",))],
    ids=["a user with a name stays itself", "a bare uid needs a namespace"],
)
def test_what_an_ordinary_user_becomes(
    monkeypatch: pytest.MonkeyPatch, uid: int, becomes: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    account = unprivileged([])
    assert (account.prefix[:1], account.uid) == (becomes, uid)


@pytest.mark.parametrize("tool", ["user namespace", "nobody"])
@pytest.mark.integration
def test_root_starts_a_server_below_a_directory_of_its_own(tmp_path: Path, tool: str) -> None:
    data_dir = closed_directory(tmp_path) / "data"
    account = unprivileged([data_dir]) if tool == "user namespace" else nobody_or_self(data_dir)
    with Postgres(data_dir, free_port(), "secret", account=account) as server:
        assert server.create_database("diabetes")


@pytest.mark.integration
def test_data_changes_hands_when_the_account_does(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    for account in (nobody_or_self(data_dir), unprivileged([data_dir])):
        with Postgres(data_dir, free_port(), "secret", account=account) as server:
            server.create_database("diabetes")
        assert data_dir.stat().st_uid == account.uid


def nobody_or_self(data_dir: Path) -> Account:
    """Only root can become `nobody`; an ordinary user's test uses the ordinary user."""
    reached = [data_dir, binary("postgres")]
    return nobody(reached) if AS_ROOT else unprivileged(reached)


def test_nobody_keeps_the_right_to_pass_only_where_it_is_needed(tmp_path: Path) -> None:
    closed = closed_directory(tmp_path) / "data"
    assert "--ambient-caps=+dac_override" in nobody([closed]).prefix
    assert not any("caps" in option for option in nobody([Path("/usr/bin/env")]).prefix)
    assert nobody([closed]).uid == pwd.getpwnam("nobody").pw_uid
