"""Flink's client: its command line, environment, and the reasons of failed jobs."""

from pathlib import Path
from subprocess import Popen

import psutil
import pytest

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink.client import SMOKE_JOB, Client
from diabetes_platform.local.flink.distribution import CLIENT, FlinkHome
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.supervised import is_alive
from diabetes_platform.polling import wait_until

CLUSTER = FlinkCluster("http://127.0.0.1:8081")


@pytest.fixture
def client(tmp_path: Path) -> Client:
    (tmp_path / "venvs/flink/lib/python3.11/site-packages/pyflink/bin").mkdir(parents=True)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/caller", "AWS_SECRET_ACCESS_KEY": "s"}
    return Client(FlinkHome(Tools(tmp_path)), tmp_path / "java" / "bin" / "java", environment)


def program(client: Client, script: str) -> None:
    client.java.parent.mkdir(parents=True)
    client.java.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    client.java.chmod(0o755)


def test_runs_jobs_in_the_python_of_flinks_environment(client: Client) -> None:
    command = client.command(SMOKE_JOB, CLUSTER, "smoke-1", **{"parallelism.default": "2"})
    python = str(client.home.python)
    assert command[command.index("-pyexec") + 1] == python
    assert command[command.index("-pyclientexec") + 1] == python
    assert command[command.index("-m") + 1] == "127.0.0.1:8081"
    assert {"pipeline.name=smoke-1", "parallelism.default=2"} <= set(command)
    assert command[-2:] == ["-py", str(SMOKE_JOB)]


def test_starts_with_the_argument_file_of_the_installation(client: Client) -> None:
    command = client.command(SMOKE_JOB, CLUSTER, "smoke-1")
    assert f"@{client.home.arguments(CLIENT)}" == command[command.index("run") - 1]


def test_inherits_no_secrets_and_no_python_variables(client: Client) -> None:
    assert not {"PYTHONPATH", "AWS_SECRET_ACCESS_KEY"} & client.variables.keys()
    assert client.variables["JAVA_HOME"] == str(client.java.parents[1])
    assert client.variables["FLINK_HOME"] == str(client.home.root)


def test_returns_the_output_of_a_job(client: Client) -> None:
    program(client, "echo error >&2; echo output")
    assert client.run(SMOKE_JOB, CLUSTER, "smoke-1") == "output\n"


def test_reports_a_failed_job_in_one_line(client: Client) -> None:
    program(client, "echo 'Caused by: java.net.ConnectException: refused'; exit 1")
    with pytest.raises(PlatformError, match=r"^smoke-1: java\.net\.ConnectException: refused$"):
        client.run(SMOKE_JOB, CLUSTER, "smoke-1")


@pytest.mark.parametrize(
    ("output", "line"),
    [("ValueError: no such thing", "ValueError: no such thing"), ("", "code: 1")],
)
def test_prefers_the_reason_in_the_output_to_the_errors_of_the_client(
    client: Client, output: str, line: str
) -> None:
    errors = "echo ProgramAbortException >&2; echo 'Caused by: code: 1' >&2"
    program(client, f"printf '{output}'; {errors}; exit 1")
    with pytest.raises(PlatformError, match=f"^smoke-1: {line}$"):
        client.run(SMOKE_JOB, CLUSTER, "smoke-1")


PRINT_OPTIONS = 'for last; do :; done; until [ -f "$last" ]; do sleep 0.05; done; cat "$last"'
"""Prints the file that is the last argument, once it exists."""


def test_a_prepared_program_submits_with_the_remaining_options(client: Client) -> None:
    program(client, PRINT_OPTIONS)
    prepared = client.prepare(SMOKE_JOB, CLUSTER, "smoke-1")
    assert prepared.alive
    assert prepared.submit(path="s3://x/chk-1") == '{"path": "s3://x/chk-1"}'
    assert not prepared.alive
    assert not prepared.file.parent.exists()


def test_a_stopped_program_leaves_neither_a_process_nor_a_file(client: Client) -> None:
    program(client, "sleep 60 & wait")
    prepared = client.prepare(SMOKE_JOB, CLUSTER, "smoke-1")
    java = psutil.Process(prepared.program.process.pid)
    wait_until(java.children, timeout=10, interval=0.02)
    (child,) = java.children()
    prepared.stop()
    assert not prepared.alive
    wait_until(lambda: not is_alive(child), timeout=10, interval=0.02)
    assert not prepared.file.parent.exists()


def test_an_interrupt_is_not_lost_if_the_cluster_does_not_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    program(client, "sleep 60")
    prepared = client.prepare(SMOKE_JOB, FlinkCluster("http://127.0.0.1:1"), "smoke-1")
    monkeypatch.setattr(Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared.submit()
    assert not prepared.alive


def test_a_program_without_its_options_does_not_go_on(client: Client) -> None:
    program(client, PRINT_OPTIONS)
    prepared = client.prepare(SMOKE_JOB, CLUSTER, "smoke-1")
    prepared.directory.cleanup()
    with pytest.raises(FileNotFoundError):
        prepared.submit()
    assert not prepared.alive


def test_a_client_that_cannot_start_is_one_error(client: Client) -> None:
    # Without its Java.
    with pytest.raises(PlatformError, match=r"smoke-1: |cannot start"):
        client.prepare(SMOKE_JOB, CLUSTER, "smoke-1").submit()
