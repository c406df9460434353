"""Jars: exactly the locked ones, verified after each copy, mended where they are damaged."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.home import Layout
from diabetes_platform.local.install import jars
from diabetes_platform.local.install.jars import JarSet, Maven
from diabetes_platform.local.install.java import find_java, find_maven
from diabetes_platform.local.install.report import Reporter, State
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.local.install.conftest import Program, Reports

GOOD = sha256(b"good").hexdigest()
PLUGIN = JarSet("connect/plugin", {"a-1.jar": GOOD, "b-1.jar": GOOD})
COPY = """
for option; do case "$option" in
  -DoutputDirectory=*) to="${option#*=}";;
  -Dmaven.repo.local=*) cache="${option#*=}";;
esac; done
mkdir -p "$to" "$cache"
for jar in a-1.jar b-1.jar; do
  [ -f "$cache/$jar" ] || { echo "Downloading from central: https://host/$jar"
                            printf good > "$cache/$jar"; }
  cp "$cache/$jar" "$to"
done
"""


@pytest.fixture
def maven(tmp_path: Path, program: Program) -> Maven:
    """A Maven that copies from its cache whatever is there, like the real one."""
    return Maven(program(tmp_path / "mvn", COPY), Path("/opt/jdk/bin/java"), os.environ)


def installed(tools: Tools, maven: Maven, reporter: Reporter) -> Path:
    asyncio.run(jars.install(tools, PLUGIN, maven, reporter))
    return tools.jars(PLUGIN.directory)


def test_the_committed_lock_is_the_poms() -> None:
    locked = jars.read_lock()
    assert locked.keys() == {"kafka", "connect/debezium", "spark", "flink", "flink-s3"}
    for jar_set in locked.values():
        assert f"<id>{jar_set.profile}</id>" in jars.POM.read_text(encoding="utf-8")
        assert f"<directory>{jar_set.directory}</directory>" in jars.POM.read_text(encoding="utf-8")
        assert all(len(checksum) == len(GOOD) for checksum in jar_set.checksums.values())


def test_no_plugin_brings_what_its_server_has() -> None:
    locked = jars.read_lock()
    assert not locked["connect/debezium"].checksums.keys() & locked["kafka"].checksums.keys()


def test_a_pom_that_changed_after_the_lock_is_refused(tmp_path: Path) -> None:
    pom = tmp_path / "pom.xml"
    pom.write_text("<project/>", encoding="utf-8")
    with pytest.raises(PlatformError, match=r"pom.xml has changed since jars.lock .* `make lock`"):
        jars.read_lock(pom=pom)


def test_every_missing_jar_is_named_with_its_directory(tools: Tools) -> None:
    found = jars.all_faults(tools)
    assert f"{tools.jars('kafka')}: kafka_2.13-4.3.1.jar is missing" in found
    assert len(found) == sum(len(jar_set.checksums) for jar_set in jars.read_lock().values())


def test_a_lock_is_read_by_directory() -> None:
    text = f"# comment\n{GOOD}  connect/plugin/a-1.jar\n{GOOD}  connect/plugin/b-1.jar\n"
    assert jars.parse_lock(text) == {"connect/plugin": PLUGIN}
    assert PLUGIN.profile == "plugin"


def test_installed_jars_are_current(
    tools: Tools, maven: Maven, reporter: Reporter, reports: Reports
) -> None:
    assert not jars.is_current(tools, PLUGIN)
    directory = installed(tools, maven, reporter)
    assert jars.is_current(tools, PLUGIN)
    assert {jar.name for jar in directory.glob("*.jar")} == PLUGIN.checksums.keys()
    assert "downloading a-1.jar" in reports.texts(State.DOING)
    assert not jars.is_current(tools, JarSet(PLUGIN.directory, {"a-1.jar": GOOD}))


def test_a_jar_that_was_only_touched_is_read_once(
    tools: Tools, maven: Maven, reporter: Reporter
) -> None:
    jar = installed(tools, maven, reporter) / "a-1.jar"
    os.utime(jar, ns=(1, 1))
    assert jars.is_current(tools, PLUGIN)
    # The same size and time again: it is not read, or this would be noticed.
    jar.write_bytes(b"evil")
    os.utime(jar, ns=(1, 1))
    assert jars.is_current(tools, PLUGIN)
    assert jars.faults(jar.parent, PLUGIN).keys() == {"a-1.jar"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"goo", "a-1.jar does not have the SHA-256 in jars.lock: replaced"),
        (b"evil", "a-1.jar does not have the SHA-256 in jars.lock: replaced"),
        (None, "a-1.jar is missing: replaced"),
    ],
)
def test_a_damaged_jar_is_replaced_with_one_line_that_says_so(
    tools: Tools,
    maven: Maven,
    reporter: Reporter,
    reports: Reports,
    content: bytes | None,
    fault: str,
) -> None:
    jar = installed(tools, maven, reporter) / "a-1.jar"
    if content is None:
        jar.unlink()
    else:
        jar.write_bytes(content)
    assert not jars.is_current(tools, PLUGIN)
    installed(tools, maven, reporter)
    assert jars.is_current(tools, PLUGIN)
    assert jar.read_bytes() == b"good"
    assert reports.texts(State.NOTE) == [fault]


def test_a_jar_that_nobody_locked_is_removed(
    tools: Tools, maven: Maven, reporter: Reporter, reports: Reports
) -> None:
    stray = installed(tools, maven, reporter) / "slf4j-2.jar"
    stray.write_bytes(b"")
    assert not jars.is_current(tools, PLUGIN)
    installed(tools, maven, reporter)
    assert not stray.exists()
    assert reports.texts(State.NOTE) == ["slf4j-2.jar is not in jars.lock: replaced"]


def test_a_download_that_was_cut_short_is_tried_once_more(
    tools: Tools, maven: Maven, reporter: Reporter, reports: Reports
) -> None:
    cache = tools.cache("maven")
    cache.mkdir(parents=True)
    (cache / "b-1.jar").write_bytes(b"goo")
    directory = installed(tools, maven, reporter)
    assert (directory / "b-1.jar").read_bytes() == b"good"
    assert reports.texts(State.NOTE) == [
        "b-1.jar does not have the SHA-256 in jars.lock: downloading again"
    ]


def test_other_jars_than_the_locked_ones_are_refused(
    tools: Tools, maven: Maven, reporter: Reporter
) -> None:
    other = JarSet(PLUGIN.directory, {**PLUGIN.checksums, "a-1.jar": sha256(b"other").hexdigest()})
    with pytest.raises(PlatformError, match=r"^plugin: a-1.jar does not have the SHA-256"):
        asyncio.run(jars.install(tools, other, maven, reporter))
    assert not tools.jars(PLUGIN.directory).exists()


def test_what_was_there_stays_when_the_new_jars_cannot_be_had(
    tools: Tools, maven: Maven, reporter: Reporter, program: Program
) -> None:
    directory = installed(tools, maven, reporter)
    program(maven.program, "echo '[ERROR] Could not resolve x'; exit 1")
    with pytest.raises(PlatformError, match=r"^plugin: mvn failed: Could not resolve x \(log: "):
        asyncio.run(jars.install(tools, PLUGIN, maven, reporter))
    assert (directory / "a-1.jar").read_bytes() == b"good"


@pytest.mark.slow
@pytest.mark.integration
def test_maven_brings_the_locked_jars(tools: Tools, reporter: Reporter) -> None:
    java = find_java(os.environ)
    maven = Maven(find_maven(os.environ, java), java, os.environ)
    shared = Tools(Layout.of(PlatformSettings()).tools).cache("maven")
    shared.mkdir(parents=True, exist_ok=True)
    tools.cache("maven").parent.mkdir(parents=True)
    tools.cache("maven").symlink_to(shared)
    debezium = jars.read_lock()["connect/debezium"]
    asyncio.run(jars.install(tools, debezium, maven, reporter))
    assert jars.is_current(tools, debezium)
    assert jars.faults(tools.jars("connect/debezium"), debezium) == {}
