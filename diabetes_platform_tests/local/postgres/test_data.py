"""PostgreSQL's data directory: version check, pid file, and leftovers of a killed server."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import (
    PidFile,
    binary,
    end_orphans,
    read_pid_file,
    release_stale_pid_file,
    require_own_data,
    running_server,
)
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.local.supervised import supervised_processes
from diabetes_platform.polling import wait_until

LONG_QUERY = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"


def test_rejects_a_directory_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(PlatformError, match="not empty and not a PostgreSQL data directory"):
        require_own_data(tmp_path)


@pytest.mark.parametrize("content", [None, "18\n"])
def test_accepts_an_empty_directory_and_data_of_this_version(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "PG_VERSION").write_text(content)
    require_own_data(tmp_path)
    require_own_data(tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "pid_file"),
    [
        ("41\n/data\n1700000000\n5433\n\n127.0.0.1\n 1 2\nready   \n", PidFile(41, "5433", True)),
        ("41\n/data\n1700000000\n5433\n\n127.0.0.1\n 1 2\nstarting\n", PidFile(41, "5433", False)),
        ("41\n", PidFile(41, "unknown", False)),
        ("garbage\n", None),
        ("", None),
    ],
)
def test_reads_complete_and_incomplete_pid_files(
    tmp_path: Path, content: str, pid_file: PidFile | None
) -> None:
    (tmp_path / "postmaster.pid").write_text(content)
    assert read_pid_file(tmp_path) == pid_file


def test_finds_the_programs_of_the_wheel() -> None:
    result = subprocess.run([binary("postgres"), "--version"], capture_output=True, check=True)
    assert result.stdout.startswith(b"postgres (PostgreSQL) 18.")


def write_pid_file(data_dir: Path, pid: int) -> None:
    (data_dir / "postmaster.pid").write_text(f"{pid}\n{data_dir}\n1700000000\n5433\n")


def test_another_program_with_the_pid_of_a_killed_server_is_no_server(tmp_path: Path) -> None:
    data_dir = tmp_path / "postgres"
    data_dir.mkdir()
    with subprocess.Popen(["sleep", "60"], cwd=data_dir) as program:
        write_pid_file(data_dir, program.pid)
        assert running_server(data_dir) is None
        assert supervised_processes(tmp_path) == []
        release_stale_pid_file(data_dir)
        assert program.poll() is None
        program.kill()
    assert read_pid_file(data_dir) is None


@pytest.fixture
def as_ordinary_user() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("as_ordinary_user")
def test_another_users_program_with_the_pid_of_a_killed_server_is_no_server() -> None:
    with TemporaryDirectory() as directory:
        write_pid_file(Path(directory), 1)
        assert running_server(Path(directory)) is None


def works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory.resolve()
    except FileNotFoundError:
        return False


@pytest.mark.integration
def test_starts_despite_a_long_query_of_a_killed_server(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "data", free_port(), "secret")
    with server:
        session = psycopg.connect(server.url("postgres"))
        session.pgconn.send_query(LONG_QUERY.encode())
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: running_server(server.data_dir) is None, timeout=10, interval=0.02)
        orphan = session.info.backend_pid
        assert works_in(orphan, server.data_dir)
    with server:
        assert not works_in(orphan, server.data_dir)
        assert server.create_database("diabetes")
    session.close()


@pytest.fixture
def session_ignoring_sigquit(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a session of `tmp_path` and ignores SIGQUIT."""
    program = tmp_path / "postgres"
    program.symlink_to(sys.executable)
    ignore = "import signal, time; signal.signal(signal.SIGQUIT, signal.SIG_IGN); "
    code = ignore + "print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [program, "-I", "-S", "-c", code], cwd=tmp_path, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_reports_a_session_that_does_not_end(
    tmp_path: Path, session_ignoring_sigquit: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(
        PlatformError, match=rf"still in use by pid {session_ignoring_sigquit.pid}: end it"
    ):
        end_orphans(tmp_path, timeout=0.2)
    assert session_ignoring_sigquit.poll() is None


def test_ends_only_sessions_of_its_own_directory(
    tmp_path: Path, session_ignoring_sigquit: subprocess.Popen[bytes]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    end_orphans(other, timeout=0.0)
    assert session_ignoring_sigquit.poll() is None
