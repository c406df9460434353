"""The PostgreSQL process: shutdown, configuration, secrets, and recovery after a kill."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.postgres.data import read_pid_file
from diabetes_platform.local.postgres.server import CONFIG_FILE
from diabetes_platform.local.processes import last_line
from diabetes_platform.polling import wait_until

pytestmark = pytest.mark.integration
PASSWORD = "p@ss/word:%"
READY_TIMEOUT = 15.0
Serve = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "postgres.log"


@pytest.fixture
def serve(data_dir: Path, port: int, log: Path) -> Iterator[Serve]:
    """Return a function that starts the command like a supervisor; stops all at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**secrets: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "diabetes_platform.local.postgres.serve"]
        options = ["--data-dir", data_dir, "--config", CONFIG_FILE]
        options += ["--listen", HOST, "--port", str(port)]
        redirected = ["sh", "-c", 'exec >>"$0" 2>&1; exec "$@"', log]
        process = subprocess.Popen(
            [*redirected, *command, *options], env=os.environ | secrets, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def connected(port: int) -> psycopg.Connection:
    """Return a connection as soon as the server accepts one."""
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    return wait_until(
        lambda: psycopg.connect(url, password=PASSWORD, autocommit=True),
        timeout=READY_TIMEOUT,
        interval=0.05,
        retry_on=(psycopg.OperationalError,),
    )


def test_the_child_is_the_server_and_sigint_is_a_fast_shutdown(
    serve: Serve, data_dir: Path, port: int, log: Path
) -> None:
    child = serve(POSTGRES_PASSWORD=PASSWORD)
    with connected(port) as session:
        session.execute("CREATE TABLE durable ()")
        pid_file = read_pid_file(data_dir)
        assert pid_file is not None
        assert (pid_file.pid, pid_file.port) == (child.pid, str(port))
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 0
    assert read_pid_file(data_dir) is None
    assert "received fast shutdown request" in log.read_text()


def test_uses_the_configuration_file_without_errors(serve: Serve, port: int) -> None:
    serve(POSTGRES_PASSWORD=PASSWORD)
    with connected(port) as session:
        config_file = session.execute("SHOW config_file").fetchone()
        assert config_file == (str(CONFIG_FILE),)
        assert session.execute("SHOW wal_level").fetchone() == ("logical",)
        invalid = session.execute("SELECT name FROM pg_file_settings WHERE error IS NOT NULL")
        assert invalid.fetchall() == []


def test_the_password_is_in_no_environment_command_line_or_file(
    serve: Serve, data_dir: Path, port: int, log: Path
) -> None:
    child = serve(POSTGRES_PASSWORD=PASSWORD)
    connected(port).close()
    process = Path("/proc") / str(child.pid)
    assert PASSWORD.encode() not in (process / "environ").read_bytes()
    assert PASSWORD.encode() not in (process / "cmdline").read_bytes()
    assert PASSWORD not in log.read_text()
    assert [path for path in data_dir.parent.iterdir() if path.is_file()] == [log]


def test_restarts_within_seconds_after_a_kill_during_a_query(serve: Serve, port: int) -> None:
    child = serve(POSTGRES_PASSWORD=PASSWORD)
    with connected(port) as session:
        session.execute("CREATE TABLE durable AS SELECT 42 AS answer")
    busy = connected(port)
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
    child.kill()
    # A supervisor sees the end of the pipe, because no session holds it.
    assert child.communicate(timeout=5) == (b"", None)
    # Immediately, and without the password, which only a new directory needs.
    serve()
    with connected(port) as session:
        assert session.execute("SELECT answer FROM durable").fetchone() == (42,)
    busy.close()


def startup_error(child: subprocess.Popen[bytes], log: Path) -> str:
    """Return the single line of the log after the child has exited with the failure code."""
    assert child.wait(10) == 3
    (line,) = log.read_text().splitlines()
    return line


def test_rejects_data_of_another_major_version_in_one_line(
    serve: Serve, data_dir: Path, log: Path
) -> None:
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("16\n")
    line = startup_error(serve(POSTGRES_PASSWORD=PASSWORD), log)
    assert line.startswith(f"{data_dir} holds data of PostgreSQL 16, this is PostgreSQL 18: dump")


def test_rejects_a_new_directory_without_a_password(serve: Serve, log: Path) -> None:
    line = startup_error(serve(POSTGRES_PASSWORD=""), log)
    assert line == (
        "POSTGRES_PASSWORD is not set: a new data directory needs the superuser's password"
    )


def test_rejects_a_port_in_use_in_one_line(serve: Serve, port: int, log: Path) -> None:
    with socket.create_server(("127.0.0.1", port)):
        line = startup_error(serve(POSTGRES_PASSWORD=PASSWORD), log)
    assert line.startswith(f"PostgreSQL: port {port} is in use by ")


def test_rejects_a_second_server_of_the_directory(serve: Serve, port: int, log: Path) -> None:
    first = serve(POSTGRES_PASSWORD=PASSWORD)
    connected(port).close()
    second = serve()
    assert second.wait(10) == 3
    assert f"already served by PostgreSQL on port {port} (pid {first.pid})" in last_line(log)


def test_imports_no_slow_module_before_the_server_starts() -> None:
    code = "import sys, diabetes_platform.local.postgres.serve; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"psycopg", "psutil", "pydantic", "sqlalchemy", "dagster"} & set(
        result.stdout.split()
    )
