"""The class archives of Kafka and Connect: when they count as made, and that the JVM takes them."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from diabetes_platform.local.connect.serve import worker
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.jvm import JavaServer, archive_path, archives
from diabetes_platform.local.kafka import classes as kafka_classes
from diabetes_platform.local.kafka.serve import broker
from diabetes_platform.settings import inherited_environment
from diabetes_platform_tests.capture import INFRA, TOOLS

pytestmark = pytest.mark.integration
ENVIRONMENT = inherited_environment()


@pytest.fixture(scope="module")
def java() -> Path:
    return find_java(ENVIRONMENT)


@pytest.fixture(scope="module")
def tools(java: Path) -> Tools:
    """The checkout's own installation, recorded here where `make up` has not done it."""
    installed = Tools(TOOLS)
    if not kafka_classes.is_current(installed, java):
        asyncio.run(kafka_classes.install(installed, java, ENVIRONMENT, lambda _: None))
    return installed


@pytest.mark.parametrize("make", [broker, worker])
def test_the_jvm_takes_the_archive_of_each_server(
    tools: Tools, java: Path, make: Callable[[Path, Path], JavaServer]
) -> None:
    server = make(TOOLS, INFRA)
    archive = archive_path(server, java, archives(tools.root))
    # With `on`, unlike `auto`, it does not start without it.
    *jvm, _, _ = server.command(java, [f"-XX:SharedArchiveFile={archive}", "-Xshare:on"])
    done = subprocess.run([*jvm, "-version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout


def test_other_jars_need_other_archives(tools: Tools, java: Path, tmp_path: Path) -> None:
    assert kafka_classes.is_current(tools, java)
    shutil.copytree(tools.jars("kafka"), tmp_path / "jars" / "kafka")
    shutil.copytree(archives(tools.root), archives(tmp_path))
    assert not kafka_classes.is_current(Tools(tmp_path), java)


def test_servers_that_do_not_start_are_told_with_their_last_line(
    java: Path, tmp_path: Path
) -> None:
    (tmp_path / "jars" / "kafka").mkdir(parents=True)
    recording = kafka_classes.install(Tools(tmp_path), java, ENVIRONMENT, lambda _: None)
    with pytest.raises(PlatformError, match=r"StorageTool"):
        asyncio.run(recording)
    assert list(archives(tmp_path).iterdir()) == []
