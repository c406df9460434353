"""FLINK_HOME: laid out from a wheel and jars, and what its servers are started with."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink import install as flink_home
from diabetes_platform.local.flink.distribution import (
    CLIENT,
    CONF_DIR,
    JOBMANAGER,
    PROGRAMS,
    TASKMANAGER,
    FlinkHome,
)
from diabetes_platform.local.flink.install import (
    answers,
    as_argument_file,
    class_path,
    java_options,
    lay_out,
    require_shared_python,
    server_options,
)
from diabetes_platform.local.home import Layout
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
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


def test_each_jar_lies_where_flink_looks_for_it(home: FlinkHome) -> None:
    lay_out(home)
    found = {str(jar.relative_to(home.root)) for jar in home.root.rglob("*.jar")}
    assert found == {
        "lib/flink-dist-2.3.0.jar",
        "lib/flink-python-2.3.0.jar",
        "lib/flink-sql-connector-kafka-5.0.0-2.2.jar",
        "lib/flink-table-runtime-2.3.0.jar",
        "opt/flink-python-2.3.0.jar",
        "opt/flink-sql-client-2.3.0.jar",
        "plugins/s3-fs-presto/flink-s3-fs-presto-2.3.0.jar",
    }
    assert (home.root / "bin" / "flink").exists()


def test_flinks_core_comes_last_in_the_class_path(home: FlinkHome) -> None:
    lay_out(home)
    assert [Path(jar).name.split("-2")[0] for jar in class_path(home).split(":")] == [
        "flink-python",
        "flink-sql-connector-kafka-5.0.0",
        "flink-table-runtime",
        "flink-dist",
    ]


@pytest.mark.parametrize("missing", ["venvs/flink", "jars/flink", "jars/flink-s3"])
def test_what_is_not_installed_yet_is_named(home: FlinkHome, missing: str) -> None:
    (home.tools.root / missing).rename(home.tools.root / "elsewhere")
    with pytest.raises(PlatformError, match=f"{home.tools.root / missing}.*: run `make up`"):
        lay_out(home)


def test_flinks_answers_stand_among_what_it_logs() -> None:
    assert answers(["INFO x", "BASH_JAVA_UTILS_EXEC_RESULT:-Xmx1m", "y"]) == ["-Xmx1m"]


def test_a_server_starts_with_the_memory_that_flink_says_and_the_options_of_the_configuration() -> (
    None
):
    memory = ["-Xmx64m -Xms64m", "-D jobmanager.memory.heap.size=64m"]
    configuration = [
        "env.java.opts.all: --add-opens=java.base/java.lang=ALL-UNNAMED -Da=b",
        "env.java.opts.jobmanager: -Xms8m",
        "env.java.opts.taskmanager: -Xms16m",
    ]
    options = server_options(JOBMANAGER, memory, configuration, "a.jar:b.jar")
    assert options == [
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


def test_the_client_has_its_own_options_and_log() -> None:
    configuration = ["env.java.opts.all: -Da=b", "env.java.opts.client: -Xmx8m"]
    assert java_options(CLIENT, configuration, "a.jar") == [
        "-Da=b",
        "-Xmx8m",
        f"-Dlog4j.configurationFile=file:{CONF_DIR / 'log4j-cli.properties'}",
        "-cp",
        "a.jar",
        CLIENT.main,
    ]


def test_java_reads_the_arguments_as_they_were_written(tmp_path: Path) -> None:
    java = find_java(inherited_environment())
    given = 'a "quoted" path\\with spaces'
    file = tmp_path / "java.args"
    options = [f"-Dgiven={given}", "-XshowSettings:properties", "-version"]
    file.write_text(as_argument_file(options), encoding="utf-8")
    done = subprocess.run([java, f"@{file}"], capture_output=True, text=True, check=True)
    assert f"given = {given}\n" in done.stderr


@pytest.mark.parametrize(("library", "refused"), [("", True), ("/lib/libpython3.12.so", False)])
def test_a_python_that_no_jvm_can_load_is_refused_with_how_to_get_one(
    home: FlinkHome, library: str, refused: bool
) -> None:
    home.python.parent.mkdir(parents=True)
    home.python.write_text(f"#!/bin/sh\necho '{library}'\n", encoding="utf-8")
    home.python.chmod(0o755)
    asked = require_shared_python(home, inherited_environment())
    if refused:
        with pytest.raises(PlatformError, match="has no shared library: install it"):
            asyncio.run(asked)
    else:
        asyncio.run(asked)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
def test_the_real_distribution_starts_and_is_made_once(tmp_path: Path) -> None:
    installed = Layout.of(PlatformSettings()).tools
    for part in ("venvs", "jars"):
        (tmp_path / part).symlink_to(installed / part)
    tools, environment = Tools(tmp_path), inherited_environment()
    java = find_java(environment)
    assert not flink_home.is_current(tools, java)
    asyncio.run(flink_home.install(tools, java, environment, lambda _: None))
    assert flink_home.is_current(tools, java)
    assert not flink_home.is_current(tools, Path("/another/bin/java"))
    home = FlinkHome(tools)
    for program in PROGRAMS:
        assert home.archive(program).stat().st_size > 2**20
        assert program.main in home.arguments(program).read_text(encoding="utf-8")
    assert not (home.root / "recording").exists()
    assert "-Xmx" in home.arguments(TASKMANAGER).read_text(encoding="utf-8")
