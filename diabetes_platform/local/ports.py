"""TCP ports of this machine: checking, finding a free one, and naming the owner."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError

HOST = "127.0.0.1"
_LISTEN = "0A"
"""The kernel's code for a listening socket in `/proc/net/tcp`."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that listens on a port."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def require_free(port: int, service: str) -> None:
    """Raise PlatformError with the owner of `port` if it cannot be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PlatformError(_in_use(port, service, port_owner(port))) from error
            raise PlatformError(f"{service}: port {port} cannot be opened: {error}") from error


def listens(port: int) -> bool:
    """Whether a process accepts connections on `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def port_owner(port: int) -> Owner | None:
    """Return the process that listens on `port`, or None if this user may not see it."""
    inodes: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            inodes |= listening_inodes(table.read_text(encoding="ascii"), port)
    return _owner_of({f"socket:[{inode}]" for inode in inodes}) if inodes else None


def listening_inodes(table: str, port: int) -> set[str]:
    """Return the inodes of sockets that listen on `port`, from a table as in /proc/net/tcp."""
    inodes = set()
    for line in table.splitlines()[1:]:
        columns = line.split()
        local, state, inode = columns[1], columns[3], columns[9]
        if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
            inodes.add(inode)
    return inodes


def _owner_of(sockets: set[str]) -> Owner | None:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, sockets):
            return Owner(int(process.name), _name(process))
    return None


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir())
    except OSError:
        # It has ended or belongs to another user.
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "a process that just ended"


def _in_use(port: int, service: str, owner: Owner | None) -> str:
    by = f"by {owner}" if owner else "by a process of another user"
    return (
        f"{service}: port {port} is in use {by}; stop it, or move all of the platform's ports "
        "with PLATFORM_PORT_OFFSET, for example PLATFORM_PORT_OFFSET=100"
    )
