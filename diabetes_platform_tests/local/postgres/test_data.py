"""The data directory: foreign data is refused, and nothing is left of a killed server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import (
    PidFile,
    binary,
    end_orphans,
    read_pid_file,
    refuse_foreign_data,
    running_server,
)
from diabetes_platform.local.postgres.server import Postgres

LONG_QUERY = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(PlatformError, match="not empty and not a PostgreSQL data directory"):
        refuse_foreign_data(tmp_path)


@pytest.mark.parametrize("content", [None, "18\n"])
def test_no_data_and_data_of_this_version_are_taken(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "PG_VERSION").write_text(content)
    refuse_foreign_data(tmp_path)
    refuse_foreign_data(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("41\n/data\n1700000000\n5433\n\n127.0.0.1\n 1 2\nready   \n", PidFile(41, "5433", True)),
        ("41\n/data\n1700000000\n5433\n\n127.0.0.1\n 1 2\nstarting\n", PidFile(41, "5433", False)),
        ("41\n", PidFile(41, "unknown", False)),
        ("garbage\n", None),
        ("", None),
    ],
)
def test_what_a_server_says_of_itself_is_read_whole_or_cut(
    tmp_path: Path, content: str, read: PidFile | None
) -> None:
    (tmp_path / "postmaster.pid").write_text(content)
    assert read_pid_file(tmp_path) == read


def test_the_programs_come_from_the_wheel() -> None:
    done = subprocess.run([binary("postgres"), "--version"], capture_output=True, check=True)
    assert done.stdout.startswith(b"postgres (PostgreSQL) 18.")


def works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory.resolve()
    except FileNotFoundError:
        return False


@pytest.mark.integration
def test_a_killed_servers_long_query_does_not_keep_the_next_from_starting(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "data", free_port(), "secret")
    with server:
        session = psycopg.connect(server.url("postgres"))
        session.pgconn.send_query(LONG_QUERY.encode())
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        while running_server(server.data_dir) is not None:
            time.sleep(0.02)
        orphan = session.info.backend_pid
        assert works_in(orphan, server.data_dir)
    with server:
        assert not works_in(orphan, server.data_dir)
        assert server.create_database("diabetes")
    session.close()


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a session of `tmp_path` and does not leave when asked to."""
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


def test_a_session_that_does_not_end_is_named(
    tmp_path: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(PlatformError, match=rf"still in use by pid {stubborn.pid}: end it"):
        end_orphans(tmp_path, seconds=0.2)
    assert stubborn.poll() is None


def test_only_sessions_of_this_directory_are_ended(
    tmp_path: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    end_orphans(other, seconds=0.0)
    assert stubborn.poll() is None
