"""Command lines of a Java server and of its tools, and Java stack traces."""

from pathlib import Path

import pytest

from diabetes_platform.local.jvm import JavaServer, innermost_cause

JAVA = Path("/java/bin/java")


@pytest.fixture
def server(tmp_path: Path) -> JavaServer:
    for name in ("jars/b.jar", "jars/a.jar", "jars/locked-by", "conf/jvm.options"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return JavaServer("kafka.Kafka", tmp_path / "jars", tmp_path / "conf", "broker.conf")


def test_command_has_the_jvm_options_the_sorted_jars_and_the_properties(
    server: JavaServer,
) -> None:
    assert server.command(JAVA) == [
        str(JAVA),
        f"@{server.config}/jvm.options",
        f"-Dlog4j2.configurationFile={server.config}/log4j2.properties",
        "-cp",
        f"{server.jars}/a.jar:{server.jars}/b.jar",
        "kafka.Kafka",
        f"{server.config}/broker.conf",
    ]


def test_tool_gets_the_properties_of_its_server(server: JavaServer) -> None:
    command = server.tool(JAVA, "kafka.tools.StorageTool", "format")
    assert command[-4:] == [
        "kafka.tools.StorageTool",
        "format",
        "--config",
        f"{server.config}/broker.conf",
    ]


TRACE = """org.example.Outer: it failed
\tat org.example.Main.main(Main.java:1)
Caused by: org.example.Middle: because of this
\t... 3 more
Caused by: java.net.ConnectException: Connection refused
\t... 4 more
"""


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (TRACE, "java.net.ConnectException: Connection refused"),
        ("org.example.Outer: it failed\n\tat org.example.Main", None),
        ("", None),
    ],
)
def test_the_innermost_cause_is_the_last_one(trace: str, cause: str | None) -> None:
    assert innermost_cause(trace) == cause
