"""PostgreSQL under a supervisor: the child is the server, and it comes back however it ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import read_pid_file
from diabetes_platform.local.postgres.serve import LARGEST_LOG
from diabetes_platform.local.postgres.server import CONFIG_FILE
from diabetes_platform.local.processes import last_line

pytestmark = pytest.mark.integration
PASSWORD = "p@ss/word:%"
READY_SECONDS = 15.0
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
    """Start the command as a supervisor does; what still runs at the end is stopped."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**secrets: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "diabetes_platform.local.postgres.serve"]
        options = ["--data-dir", data_dir, "--port", str(port), "--config", CONFIG_FILE]
        process = subprocess.Popen(
            [*command, *options, "--log", log], env=os.environ | secrets, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def connected(port: int) -> psycopg.Connection:
    """A connection, as soon as the server takes one."""
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return psycopg.connect(url, password=PASSWORD, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_the_child_is_the_server_and_an_interrupt_is_a_fast_shutdown(
    serve: Serve, data_dir: Path, port: int, log: Path
) -> None:
    child = serve(POSTGRES_PASSWORD=PASSWORD)
    with connected(port) as session:
        session.execute("CREATE TABLE kept ()")
        written = read_pid_file(data_dir)
        assert written is not None
        assert (written.pid, written.port) == (child.pid, str(port))
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 0
    assert read_pid_file(data_dir) is None
    assert "received fast shutdown request" in log.read_text()


def test_it_has_the_settings_of_the_one_file(serve: Serve, port: int) -> None:
    serve(POSTGRES_PASSWORD=PASSWORD)
    with connected(port) as session:
        shown = session.execute("SHOW config_file").fetchone()
        assert shown == (str(CONFIG_FILE),)
        assert session.execute("SHOW wal_level").fetchone() == ("logical",)
        refused = session.execute("SELECT name FROM pg_file_settings WHERE error IS NOT NULL")
        assert refused.fetchall() == []


def test_the_password_stays_in_no_environment_command_line_or_file(
    serve: Serve, data_dir: Path, port: int, log: Path
) -> None:
    child = serve(POSTGRES_PASSWORD=PASSWORD)
    connected(port).close()
    process = Path("/proc") / str(child.pid)
    assert PASSWORD.encode() not in (process / "environ").read_bytes()
    assert PASSWORD.encode() not in (process / "cmdline").read_bytes()
    assert PASSWORD not in log.read_text()
    assert [path for path in data_dir.parent.iterdir() if path.is_file()] == [log]


def test_a_killed_server_with_a_query_under_way_is_back_within_seconds(
    serve: Serve, port: int
) -> None:
    child = serve(POSTGRES_PASSWORD=PASSWORD)
    with connected(port) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    busy = connected(port)
    busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
    child.kill()
    # A supervisor notices when nobody can write into its pipe any more: no session can.
    assert child.communicate(timeout=5) == (b"", None)
    # As a supervisor does: at once, and without the password that only a new directory needs.
    serve()
    with connected(port) as session:
        assert session.execute("SELECT answer FROM kept").fetchone() == (42,)
    busy.close()


def refusal(child: subprocess.Popen[bytes], log: Path) -> str:
    """The one line that is said, and the code that tells a supervisor of a failure."""
    assert child.wait(10) == 3
    (line,) = log.read_text().splitlines()
    return line


def test_data_of_another_major_version_is_refused_in_one_line(
    serve: Serve, data_dir: Path, log: Path
) -> None:
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("16\n")
    line = refusal(serve(POSTGRES_PASSWORD=PASSWORD), log)
    assert line.startswith(f"{data_dir} holds data of PostgreSQL 16, this is PostgreSQL 18: dump")


def test_a_new_directory_without_a_password_is_refused_in_one_line(serve: Serve, log: Path) -> None:
    line = refusal(serve(POSTGRES_PASSWORD=""), log)
    assert line == "POSTGRES_PASSWORD: given nothing, allowed the superuser's password"


def test_a_port_in_use_is_refused_in_one_line(serve: Serve, port: int, log: Path) -> None:
    with socket.create_server(("127.0.0.1", port)):
        line = refusal(serve(POSTGRES_PASSWORD=PASSWORD), log)
    assert line.startswith(f"PostgreSQL: port {port} is in use by ")


def test_a_second_server_of_the_directory_is_refused(serve: Serve, port: int, log: Path) -> None:
    first = serve(POSTGRES_PASSWORD=PASSWORD)
    connected(port).close()
    second = serve()
    assert second.wait(10) == 3
    assert f"already served by PostgreSQL on port {port} (pid {first.pid})" in last_line(log)


@pytest.mark.parametrize(
    ("size", "names"), [(0, ["postgres.log"]), (1, ["postgres.log", "postgres.log.1"])]
)
def test_a_large_log_is_set_aside_at_the_start(
    serve: Serve, log: Path, size: int, names: list[str]
) -> None:
    with log.open("wb") as file:
        file.truncate(LARGEST_LOG + size)
    serve(POSTGRES_PASSWORD="").wait(10)
    assert sorted(path.name for path in log.parent.iterdir()) == names
    assert "POSTGRES_PASSWORD" in last_line(log)


def test_nothing_slow_is_imported_before_the_server_starts() -> None:
    code = "import sys, diabetes_platform.local.postgres.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"psycopg", "pydantic", "sqlalchemy", "dagster"} & set(done.stdout.split())
