"""The PostgreSQL server: start, stop, settings, and one clear message for each problem."""

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.data import read_pid_file, running_server
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.polling import wait_until

pytestmark = pytest.mark.integration
PASSWORD = "p@ss/word:%"


@pytest.fixture
def server(tmp_path: Path) -> Postgres:
    return Postgres(tmp_path / "data", free_port(), PASSWORD)


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def test_data_survives_a_restart(server: Postgres) -> None:
    with server:
        url = server.create_database("diabetes")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE durable AS SELECT 42 AS answer")
    with server, psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM durable").fetchone() == (42,)


def test_creating_an_existing_database_keeps_it(server: Postgres) -> None:
    with server:
        url = server.create_database("diabetes")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE durable ()")
        assert server.create_database("diabetes") == url
        with psycopg.connect(url) as connection:
            connection.execute("SELECT FROM durable")


def test_quotes_database_names(server: Postgres) -> None:
    with server:
        server.create_database('x"; DROP DATABASE postgres; --')
        assert server.create_database("diabetes")


def test_listens_on_the_loopback_interface_and_requires_the_password(server: Postgres) -> None:
    with server:
        url = server.url("postgres")
        assert setting(url, "listen_addresses") == "127.0.0.1"
        assert setting(url, "unix_socket_directories") == ""
        for wrong in (server.url("postgres").replace("postgres:", "postgres:x"), "user=postgres"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(wrong, host="127.0.0.1", port=server.port, dbname="postgres")


def test_reports_a_data_directory_with_another_password(server: Postgres) -> None:
    with server:
        pass
    other = Postgres(server.data_dir, server.port, "another")
    with (
        other,
        pytest.raises(PlatformError, match=rf"port {server.port}.*password authentication"),
    ):
        other.create_database("diabetes")


def test_the_same_data_directory_supports_bulk_loads_and_change_capture(server: Postgres) -> None:
    with server:
        assert setting(server.url("postgres"), "wal_level") == "minimal"
    logical = {"wal_level": "logical", "max_wal_senders": "10"}
    with Postgres(server.data_dir, server.port, PASSWORD, settings=logical) as captured:
        assert setting(captured.url("postgres"), "wal_level") == "logical"


def test_only_a_database_that_is_not_durable_has_asynchronous_commit(
    server: Postgres,
) -> None:
    with server:
        assert setting(server.create_database("diabetes"), "synchronous_commit") == "on"
        events = server.create_database("dagster", durable=False)
        assert setting(events, "synchronous_commit") == "off"


def test_logs_no_values_of_rows(server: Postgres) -> None:
    with server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE measured (glucose integer CHECK (glucose < 600))")
            with pytest.raises(psycopg.errors.CheckViolation, match="98765"):
                connection.execute("INSERT INTO measured VALUES (98765)")
        assert "measured" in server.log.read_text()
        assert "98765" not in server.log.read_text()


def test_reports_the_owner_of_a_port_in_use(server: Postgres, tmp_path: Path) -> None:
    with (
        server,
        pytest.raises(PlatformError, match=rf"port {server.port} .* postgres \(pid {server.pid}\)"),
    ):
        Postgres(tmp_path / "other", server.port, PASSWORD).start()


def test_reports_port_and_pid_of_the_server_that_uses_the_directory(server: Postgres) -> None:
    with server:
        running = running_server(server.data_dir)
        assert running is not None
        assert (running.pid, running.port) == (server.pid, str(server.port))
        with pytest.raises(PlatformError, match=rf"port {server.port} \(pid {server.pid}\)"):
            Postgres(server.data_dir, free_port(), PASSWORD).start()


@pytest.mark.parametrize(
    "pid",
    ["999999999", "garbage", str(os.getpid())],
    ids=["no process", "not a number", "another process"],
)
def test_ignores_a_stale_pid_file(server: Postgres, pid: str) -> None:
    with server:
        pass
    (server.data_dir / "postmaster.pid").write_text(f"{pid}\n{server.data_dir}\n0\n5433\n")
    with server:
        assert server.create_database("diabetes")


def test_recovers_after_a_kill(server: Postgres) -> None:
    with server:
        with psycopg.connect(server.url("postgres")) as connection:
            connection.execute("CREATE TABLE durable ()")
        assert server.pid is not None
        os.kill(server.pid, 9)
        wait_until(lambda: running_server(server.data_dir) is None, timeout=10, interval=0.05)
    with server, psycopg.connect(server.url("postgres")) as connection:
        connection.execute("SELECT FROM durable")


def test_stop_waits_for_the_end_of_the_process(server: Postgres) -> None:
    with server:
        open_transaction = psycopg.connect(server.url("postgres"))
        open_transaction.execute("SELECT 1")
        server.stop()
        open_transaction.close()
        assert server.pid is None
        assert read_pid_file(server.data_dir) is None
        assert running_server(server.data_dir) is None


def test_rejects_data_of_another_major_version(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("16\n")
    with pytest.raises(PlatformError, match="PostgreSQL 16, this is PostgreSQL 18"):
        Postgres(tmp_path, free_port(), PASSWORD).start()


def test_reports_why_a_server_cannot_start(tmp_path: Path) -> None:
    broken = Postgres(tmp_path / "data", free_port(), PASSWORD, settings={"shared_buffers": "huge"})
    with pytest.raises(PlatformError, match=r"ended with code 1: .*shared_buffers"):
        broken.start()
    assert broken.pid is None


def test_reports_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    server = Postgres(tmp_path / "data" / "file" / "data", free_port(), PASSWORD)
    (tmp_path / "data" / "file").touch()
    with pytest.raises((PlatformError, OSError), match="file"):
        server.start()


def test_the_password_is_on_no_command_line_and_in_no_file(server: Postgres) -> None:
    with server:
        processes = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, check=True)
        assert PASSWORD.encode() not in processes.stdout
    files = [path for path in server.data_dir.parent.iterdir() if path.is_file()]
    assert files == [server.log]
