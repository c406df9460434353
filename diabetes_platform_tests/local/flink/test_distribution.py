"""FLINK_HOME: the distribution built from a wheel and jars, and its start arguments."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink import distribution
from diabetes_platform.local.flink.distribution import (
    CLIENT,
    CONF_DIR,
    JOBMANAGER,
    SERVERS,
    TASKMANAGER,
    FlinkHome,
    as_argument_file,
    build_home,
    class_path,
    java_arguments,
    require_shared_python,
    results,
    server_arguments,
)
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.settings import PlatformSettings, inherited_environment

WHEEL = "venvs/flink/lib/python3.11/site-packages/pyflink"


@pytest.fixture
def home(tmp_path: Path) -> FlinkHome:
    """An installed wheel and installed jars, all of them empty files."""
    for file in (
        f"{WHEEL}/bin/flink",
        f"{WHEEL}/lib/flink-dist-2.3.0.jar",
        f"{WHEEL}/lib/flink-table-runtime-2.3.0.jar",
        f"{WHEEL}/opt/flink-python-2.3.0.jar",
        f"{WHEEL}/opt/flink-sql-client-2.3.0.jar",
        "jars/flink/flink-sql-connector-kafka-5.0.0-2.2.jar",
        "jars/flink-s3/flink-s3-fs-presto-2.3.0.jar",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return FlinkHome(Tools(tmp_path))


def test_links_jars_into_the_directories_of_flink(home: FlinkHome) -> None:
    build_home(home)
    jar_files = {str(jar.relative_to(home.root)) for jar in home.root.rglob("*.jar")}
    assert jar_files == {
        "lib/flink-dist-2.3.0.jar",
        "lib/flink-python-2.3.0.jar",
        "lib/flink-sql-connector-kafka-5.0.0-2.2.jar",
        "lib/flink-table-runtime-2.3.0.jar",
        "opt/flink-python-2.3.0.jar",
        "opt/flink-sql-client-2.3.0.jar",
        "plugins/s3-fs-presto/flink-s3-fs-presto-2.3.0.jar",
    }
    assert (home.root / "bin" / "flink").exists()


def test_class_path_ends_with_flink_dist(home: FlinkHome) -> None:
    build_home(home)
    assert [Path(jar).name.split("-2")[0] for jar in class_path(home).split(":")] == [
        "flink-python",
        "flink-sql-connector-kafka-5.0.0",
        "flink-table-runtime",
        "flink-dist",
    ]


@pytest.mark.parametrize("missing", ["venvs/flink", "jars/flink", "jars/flink-s3"])
def test_names_the_missing_part(home: FlinkHome, missing: str) -> None:
    (home.tools.root / missing).rename(home.tools.root / "moved")
    with pytest.raises(PlatformError, match=f"{home.tools.root / missing}.*: run `make up`"):
        build_home(home)


def test_finds_results_among_log_lines() -> None:
    assert results(["INFO x", "BASH_JAVA_UTILS_EXEC_RESULT:-Xmx1m", "y"]) == ["-Xmx1m"]


def test_server_arguments_combine_memory_settings_and_configured_options() -> None:
    memory = ["-Xmx64m -Xms64m", "-D jobmanager.memory.heap.size=64m"]
    configuration = [
        "env.java.opts.all: --add-opens=java.base/java.lang=ALL-UNNAMED -Da=b",
        "env.java.opts.jobmanager: -Xms8m",
        "env.java.opts.taskmanager: -Xms16m",
    ]
    arguments = server_arguments(JOBMANAGER, memory, configuration, "a.jar:b.jar")
    assert arguments == [
        "-Xmx64m",
        "-Xms64m",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "-Da=b",
        "-Xms8m",
        f"-Dlog4j.configurationFile=file:{CONF_DIR / 'log4j-console.properties'}",
        "-cp",
        "a.jar:b.jar",
        JOBMANAGER.main,
        "--configDir",
        str(CONF_DIR),
        "-D",
        "jobmanager.memory.heap.size=64m",
    ]


def test_the_client_has_its_own_options_and_log_configuration() -> None:
    configuration = ["env.java.opts.all: -Da=b", "env.java.opts.client: -Xmx8m"]
    assert java_arguments(CLIENT, configuration, "a.jar") == [
        "-Da=b",
        "-Xmx8m",
        f"-Dlog4j.configurationFile=file:{CONF_DIR / 'log4j-cli.properties'}",
        "-cp",
        "a.jar",
        CLIENT.main,
    ]


def test_java_reads_back_the_argument_file(tmp_path: Path) -> None:
    java = find_java(inherited_environment())
    value = 'a "quoted" path\\with spaces'
    file = tmp_path / "java.args"
    options = [f"-Dname={value}", "-XshowSettings:properties", "-version"]
    file.write_text(as_argument_file(options), encoding="utf-8")
    done = subprocess.run([java, f"@{file}"], capture_output=True, text=True, check=True)
    assert f"name = {value}\n" in done.stderr


def installer_of(tools: Tools, java: Path) -> Installer:
    return Installer(tools, java, inherited_environment(), None, lambda _: None)


@pytest.mark.parametrize(("library", "rejected"), [("", True), ("/lib/libpython3.12.so", False)])
def test_rejects_a_python_without_a_shared_library_with_instructions(
    home: FlinkHome, library: str, rejected: bool
) -> None:
    home.python.parent.mkdir(parents=True)
    home.python.write_text(f"#!/bin/sh\necho '{library}'\n", encoding="utf-8")
    home.python.chmod(0o755)
    check = require_shared_python(home, installer_of(home.tools, Path("/java")))
    if rejected:
        with pytest.raises(PlatformError, match="has no shared library: install it"):
            asyncio.run(check)
    else:
        asyncio.run(check)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
def test_builds_the_real_distribution_once(tmp_path: Path) -> None:
    installed = HomeLayout.of(PlatformSettings()).tools
    for part in ("venvs", "jars"):
        (tmp_path / part).symlink_to(installed / part)
    tools, java = Tools(tmp_path), find_java(inherited_environment())
    assert not distribution.is_current(tools, java)
    asyncio.run(distribution.install(installer_of(tools, java)))
    assert distribution.is_current(tools, java)
    assert not distribution.is_current(tools, Path("/other/bin/java"))
    home = FlinkHome(tools)
    for program in (*SERVERS, CLIENT):
        assert program.main in home.arguments(program).read_text(encoding="utf-8")
    assert "-Xmx" in home.arguments(TASKMANAGER).read_text(encoding="utf-8")
