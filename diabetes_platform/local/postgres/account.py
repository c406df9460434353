"""Which account a server that refuses root runs under, and how it gets there."""

import functools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.processes import dying_with_parent

_NAMELESS = "nobody"
"""Every system has it. A namespace needs a uid with a name too: initdb looks it up."""


@dataclass(frozen=True, slots=True)
class Account:
    """`prefix` goes before a command; its files belong to `uid` and `gid`."""

    prefix: tuple[str, ...]
    uid: int
    gid: int

    def command(self, *command: str) -> list[str]:
        """Return `command` as this account runs it, ended by SIGINT when its parent dies."""
        return [*self.prefix, *dying_with_parent(signal.SIGINT), *command]

    def own(self, root: Path) -> None:
        """Give `root` and all below it to this account; only root needs to."""
        if os.geteuid() != 0 or root.stat().st_uid == self.uid:
            return
        for path in (root, *root.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def unprivileged(paths: Iterable[Path]) -> Account:
    """Return an account that is not root and reaches `paths`; raises PlatformError.

    An ordinary user is that account. Root, and a user without a name (as in a container that is
    run with a bare uid), becomes `nobody` of a user namespace: outside it, its files stay the
    caller's, so any checkout works. A container may refuse that; then root becomes `nobody`.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and _has_name(uid):
        return Account((), uid, gid)
    if _may_create_user_namespaces():
        return Account(_in_user_namespace(), uid, gid)
    return nobody(paths) if uid == 0 else Account((), uid, gid)


def nobody(paths: Iterable[Path]) -> Account:
    """Return the account `nobody` for root to become; raises PlatformError where it cannot.

    Where `nobody` may not pass a directory above `paths` (a checkout below /root), it keeps
    root's right to pass, and no other.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PlatformError(
            "PostgreSQL does not run as root, and neither `unshare --user` nor `setpriv` is "
            "allowed here: run as an ordinary user, or install util-linux"
        )
    entry = pwd.getpwnam(_NAMELESS)
    prefix: tuple[str, ...] = (
        setpriv,
        f"--reuid={entry.pw_uid}",
        f"--regid={entry.pw_gid}",
        "--clear-groups",
    )
    if not all(_others_reach(path) for path in paths):
        # PostgreSQL asks access(), which forgets the rights of all but root without the last.
        rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        prefix += (*rights, "--securebits=+no_setuid_fixup")
    return Account(prefix, entry.pw_uid, entry.pw_gid)


def _others_reach(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _in_user_namespace() -> tuple[str, ...]:
    entry = pwd.getpwnam(_NAMELESS)
    return ("unshare", "--user", f"--map-user={entry.pw_uid}", f"--map-group={entry.pw_gid}")


@functools.cache
def _may_create_user_namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = subprocess.run([*_in_user_namespace(), "true"], capture_output=True, check=False)
    return probe.returncode == 0
