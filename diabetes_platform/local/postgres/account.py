"""The unprivileged account that PostgreSQL runs under, because it does not run as root."""

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.processes import dying_with_parent

_NOBODY = "nobody"
"""Exists on every system. initdb needs a uid with a name in a user namespace too."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account: the command prefix that switches to it, and the owner of its files."""

    prefix: tuple[str, ...]
    uid: int
    gid: int

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs `command` and ends it by SIGINT if the parent dies."""
        return [*self.prefix, *dying_with_parent(signal.SIGINT), *command]

    def take_ownership(self, root: Path) -> None:
        """Make this account the owner of `root` and its contents; needed only as root."""
        if os.geteuid() != 0 or root.stat().st_uid == self.uid:
            return
        for path in (root, *root.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def unprivileged(paths: Iterable[Path]) -> Account:
    """Return an account that is not root and can access `paths`; raises PlatformError.

    An ordinary user stays the same. Root, and a uid without a name (as in some containers),
    becomes `nobody` in a user namespace: outside of it, files still belong to the caller, so any
    checkout works. If user namespaces are not allowed, root becomes the real `nobody`.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        with contextlib.suppress(KeyError):
            pwd.getpwuid(uid)
            return Account((), uid, gid)
    namespace = _user_namespace()
    if namespace is not None:
        return Account(namespace, uid, gid)
    return nobody(paths) if uid == 0 else Account((), uid, gid)


def nobody(paths: Iterable[Path]) -> Account:
    """Return the account `nobody` for root to switch to; raises PlatformError if it cannot.

    If `nobody` cannot enter a directory above `paths` (a checkout below /root), it keeps one
    capability of root: to bypass file permissions.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PlatformError(
            "PostgreSQL does not run as root, and neither `unshare --user` nor `setpriv` is "
            "allowed here: run as an ordinary user, or install util-linux"
        )
    entry = pwd.getpwnam(_NOBODY)
    prefix = [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    parents = {parent for path in paths for parent in path.resolve().parents}
    if not all(parent.stat().st_mode & 0o001 for parent in parents):
        # PostgreSQL calls access(), which ignores capabilities without the last option.
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        prefix.append("--securebits=+no_setuid_fixup")
    return Account(tuple(prefix), entry.pw_uid, entry.pw_gid)


@functools.cache
def _user_namespace() -> tuple[str, ...] | None:
    """Return the command prefix that enters a user namespace as `nobody`; None if not allowed."""
    entry = pwd.getpwnam(_NOBODY)
    prefix = ("unshare", "--user", f"--map-user={entry.pw_uid}", f"--map-group={entry.pw_gid}")
    if shutil.which("unshare") is None:
        return None
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if probe.returncode == 0 else None
