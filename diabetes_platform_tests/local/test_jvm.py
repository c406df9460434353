"""A server's command line, and when its class archive counts as another one."""

import os
from pathlib import Path

import pytest

from diabetes_platform.local.jvm import JavaServer, archive_options, archive_path


@pytest.fixture
def java(tmp_path: Path) -> Path:
    (tmp_path / "java" / "bin").mkdir(parents=True)
    (tmp_path / "java" / "lib").mkdir()
    (tmp_path / "java" / "lib" / "modules").write_text("17")
    made = tmp_path / "java" / "bin" / "java"
    made.touch()
    return made


@pytest.fixture
def server(tmp_path: Path) -> JavaServer:
    for name in ("jars/b.jar", "jars/a.jar", "jars/locked-by", "conf/jvm.options"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return JavaServer("kafka", "kafka.Kafka", tmp_path / "jars", tmp_path / "conf", "broker.conf")


def test_a_server_is_java_with_its_options_its_jars_in_order_and_its_own_file(
    server: JavaServer, java: Path
) -> None:
    assert server.command(java, ["-Xlog:cds"]) == [
        str(java),
        f"@{server.config}/jvm.options",
        "-Xlog:cds",
        f"-Dlog4j2.configurationFile={server.config}/log4j2.properties",
        "-cp",
        f"{server.jars}/a.jar:{server.jars}/b.jar",
        "kafka.Kafka",
        f"{server.config}/broker.conf",
    ]


def test_a_tool_runs_as_its_server_is_configured(server: JavaServer, java: Path) -> None:
    command = server.tool(java, "kafka.tools.StorageTool", "format")
    assert command[-4:] == [
        "kafka.tools.StorageTool",
        "format",
        "--config",
        f"{server.config}/broker.conf",
    ]


def test_an_archive_keeps_its_name_while_nothing_changes(
    server: JavaServer, java: Path, tmp_path: Path
) -> None:
    archive = archive_path(server, java, tmp_path)
    assert archive == archive_path(server, java, tmp_path)
    assert (archive.parent, archive.suffix) == (tmp_path, ".jsa")
    assert archive.name.startswith("kafka-")


@pytest.mark.parametrize("changed", ["jars/a.jar", "conf/jvm.options", "java/lib/modules"])
def test_an_archive_is_another_one_after_a_change_of_jars_options_or_java(
    server: JavaServer, java: Path, tmp_path: Path, changed: str
) -> None:
    before = archive_path(server, java, tmp_path)
    (tmp_path / changed).write_text("changed")
    os.utime(tmp_path / changed, ns=(1, 1))
    assert archive_path(server, java, tmp_path) != before


def test_an_archive_is_another_one_with_one_more_jar(
    server: JavaServer, java: Path, tmp_path: Path
) -> None:
    before = archive_path(server, java, tmp_path)
    (server.jars / "c.jar").touch()
    assert archive_path(server, java, tmp_path) != before


def test_an_archive_that_was_not_made_is_not_asked_for(tmp_path: Path) -> None:
    archive = tmp_path / "kafka.jsa"
    assert archive_options(archive) == ()
    archive.touch()
    assert archive_options(archive) == (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto")
