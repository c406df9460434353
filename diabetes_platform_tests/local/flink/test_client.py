"""Flink's client: what it is told, and what it says when a job fails."""

from pathlib import Path

import pytest

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.client import SMOKE_JOB, Client, reason
from diabetes_platform.local.flink.distribution import CLIENT, FlinkHome
from diabetes_platform.local.install.tools import Tools

CLUSTER = FlinkCluster("http://127.0.0.1:8081")


@pytest.fixture
def client(tmp_path: Path) -> Client:
    (tmp_path / "venvs/flink/lib/python3.11/site-packages/pyflink/bin").mkdir(parents=True)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/other", "AWS_SECRET_ACCESS_KEY": "s"}
    return Client(FlinkHome(Tools(tmp_path)), tmp_path / "java" / "bin" / "java", environment)


def program(client: Client, script: str) -> None:
    client.java.parent.mkdir(parents=True)
    client.java.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    client.java.chmod(0o755)


def test_a_job_runs_in_the_python_of_flinks_own_environment(client: Client) -> None:
    command = client.command(SMOKE_JOB, CLUSTER, "proof", **{"parallelism.default": "2"})
    python = str(client.home.python)
    assert command[command.index("-pyexec") + 1] == python
    assert command[command.index("-pyclientexec") + 1] == python
    assert command[command.index("-m") + 1] == "127.0.0.1:8081"
    assert {"pipeline.name=proof", "parallelism.default=2"} <= set(command)
    assert command[-2:] == ["-py", str(SMOKE_JOB)]


def test_starts_with_the_argument_file_of_the_installation(client: Client) -> None:
    command = client.command(SMOKE_JOB, CLUSTER, "proof")
    assert f"@{client.home.arguments(CLIENT)}" == command[command.index("run") - 1]


def test_the_client_gets_no_secret_and_no_foreign_python(client: Client) -> None:
    assert not {"PYTHONPATH", "AWS_SECRET_ACCESS_KEY"} & client.variables.keys()
    assert client.variables["JAVA_HOME"] == str(client.java.parents[1])
    assert client.variables["FLINK_HOME"] == str(client.home.root)


def test_what_a_job_prints_is_returned(client: Client) -> None:
    program(client, "echo said >&2; echo printed")
    assert client.run(SMOKE_JOB, CLUSTER, "proof") == "printed\n"


def test_a_job_that_fails_says_why_in_one_line(client: Client) -> None:
    program(client, "echo 'Caused by: java.net.ConnectException: refused'; exit 1")
    with pytest.raises(PlatformError, match=r"^proof: java\.net\.ConnectException: refused$"):
        client.run(SMOKE_JOB, CLUSTER, "proof")


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("Exception: outer\n\tat X\nCaused by: middle\n\tat Y\nCaused by: inner\n\tat Z", "inner"),
        ("Traceback\n  File x\nValueError: no such thing\n", "ValueError: no such thing"),
        (
            "smoke: found {}, expected {'accepted': 1}\n",
            "smoke: found {}, expected {'accepted': 1}",
        ),
        ("", "code: 1"),
    ],
)
def test_the_innermost_cause_that_the_program_printed_is_the_reason(
    printed: str, line: str
) -> None:
    assert reason(printed, "ProgramAbortException\nCaused by: code: 1\n\t... 15 more") == line


def test_a_job_and_a_client_that_say_nothing() -> None:
    assert reason("", "") == "it said nothing"
