"""The programs, rights and kernel features that a node needs, with errors that say what to do."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.errors import PlatformError


def require(packages: Mapping[str, str]) -> None:
    """Raise PlatformError unless this is root, with the programs and a kernel for a node.

    `packages` maps programs to the Debian packages that contain them.
    """
    if os.geteuid() != 0:
        raise PlatformError(
            "network, mount and process namespaces need root: run it as root, or with sudo"
        )
    missing = sorted({packages[name] for name in packages if not _find(name)})
    if missing:
        raise PlatformError(
            f"programs are missing: apt-get install --no-install-recommends {' '.join(missing)}"
        )
    if "\toverlay\n" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        raise PlatformError("the kernel has no overlay file system: load it (modprobe overlay)")
    if not Path("/dev/net/tun").exists():
        raise PlatformError("the kernel has no /dev/net/tun: load it (modprobe tun)")
    _require_namespaces()


def _find(program: str) -> str | None:
    # The PATH of a user's shell may lack the directories of the administrator's programs.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/lib/cni")


def _require_namespaces() -> None:
    script = "iptables -t nat -n -L && mount -t tmpfs tmpfs /mnt"
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    probe = subprocess.run(
        [*unshare, "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        lines = probe.stderr.strip().splitlines() or ["no output"]
        raise PlatformError(
            "this machine allows no network, mount and process namespaces with packet rules and"
            f" mounts of their own, as in an unprivileged container: {lines[-1]}"
        )
