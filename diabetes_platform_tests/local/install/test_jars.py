"""Jars: the lock, verification of downloads, and replacement of damaged files."""

import asyncio
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.install import jars
from diabetes_platform.local.install.jars import JarSet
from diabetes_platform.local.install.java import find_java, find_maven
from diabetes_platform.local.install.progress import StepStatus
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.settings import PlatformSettings
from diabetes_platform_tests.local.install.conftest import Events, WriteScript

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
def maven(tmp_path: Path, write_script: WriteScript, installer: Installer) -> Installer:
    """A fake Maven that copies from its local repository without verification, like Maven."""
    return replace(installer, environment=os.environ, maven=write_script(tmp_path / "mvn", COPY))


def installed(maven: Installer) -> Path:
    asyncio.run(jars.install(maven, PLUGIN))
    return maven.tools.jars(PLUGIN.directory)


def test_the_committed_lock_matches_the_pom() -> None:
    locked = jars.read_lock()
    assert locked.keys() == {"kafka", "connect/debezium", "spark", "flink", "flink-s3"}
    for jar_set in locked.values():
        assert f"<id>{jar_set.profile}</id>" in jars.POM.read_text(encoding="utf-8")
        assert f"<directory>{jar_set.directory}</directory>" in jars.POM.read_text(encoding="utf-8")
        assert all(len(checksum) == len(GOOD) for checksum in jar_set.checksums.values())


def test_the_debezium_plugin_contains_no_jar_of_kafka() -> None:
    locked = jars.read_lock()
    assert not locked["connect/debezium"].checksums.keys() & locked["kafka"].checksums.keys()


def test_rejects_a_pom_that_changed_after_the_lock(tmp_path: Path) -> None:
    pom = tmp_path / "pom.xml"
    pom.write_text("<project/>", encoding="utf-8")
    with pytest.raises(PlatformError, match=r"pom.xml has changed since jars.lock .* `make lock`"):
        jars.read_lock(pom=pom)


def test_names_every_missing_jar_with_its_directory(tools: Tools) -> None:
    faults = jars.all_faults(tools)
    assert f"{tools.jars('kafka')}: kafka_2.13-4.3.1.jar is missing" in faults
    assert len(faults) == sum(len(jar_set.checksums) for jar_set in jars.read_lock().values())


def test_parses_a_lock_by_directory() -> None:
    text = f"# comment\n{GOOD}  connect/plugin/a-1.jar\n{GOOD}  connect/plugin/b-1.jar\n"
    assert jars.parse_lock(text) == {"connect/plugin": PLUGIN}
    assert PLUGIN.profile == "plugin"


def test_installed_jars_are_current(tools: Tools, maven: Installer, events: Events) -> None:
    assert not jars.is_current(tools, PLUGIN)
    directory = installed(maven)
    assert jars.is_current(tools, PLUGIN)
    assert {jar.name for jar in directory.glob("*.jar")} == PLUGIN.checksums.keys()
    assert "downloading a-1.jar" in events.texts(StepStatus.RUNNING)
    assert not jars.is_current(tools, JarSet(PLUGIN.directory, {"a-1.jar": GOOD}))


def test_reads_a_touched_jar_only_once(tools: Tools, maven: Installer) -> None:
    jar = installed(maven) / "a-1.jar"
    os.utime(jar, ns=(1, 1))
    assert jars.is_current(tools, PLUGIN)
    # With unchanged size and time, is_current() does not read the file.
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
def test_replaces_a_damaged_jar_with_a_warning(
    tools: Tools,
    maven: Installer,
    events: Events,
    content: bytes | None,
    fault: str,
) -> None:
    jar = installed(maven) / "a-1.jar"
    if content is None:
        jar.unlink()
    else:
        jar.write_bytes(content)
    assert not jars.is_current(tools, PLUGIN)
    installed(maven)
    assert jars.is_current(tools, PLUGIN)
    assert jar.read_bytes() == b"good"
    assert events.texts(StepStatus.WARNING) == [fault]


def test_removes_a_jar_that_is_not_locked(tools: Tools, maven: Installer, events: Events) -> None:
    stray = installed(maven) / "slf4j-2.jar"
    stray.write_bytes(b"")
    assert not jars.is_current(tools, PLUGIN)
    installed(maven)
    assert not stray.exists()
    assert events.texts(StepStatus.WARNING) == ["slf4j-2.jar is not in jars.lock: replaced"]


def test_downloads_a_truncated_jar_again(tools: Tools, maven: Installer, events: Events) -> None:
    cache = tools.cache("maven")
    cache.mkdir(parents=True)
    (cache / "b-1.jar").write_bytes(b"goo")
    directory = installed(maven)
    assert (directory / "b-1.jar").read_bytes() == b"good"
    assert events.texts(StepStatus.WARNING) == [
        "b-1.jar does not have the SHA-256 in jars.lock: downloading again"
    ]


def test_rejects_jars_that_differ_from_the_lock(tools: Tools, maven: Installer) -> None:
    other = JarSet(PLUGIN.directory, {**PLUGIN.checksums, "a-1.jar": sha256(b"other").hexdigest()})
    with pytest.raises(PlatformError, match=r"^plugin: a-1.jar does not have the SHA-256"):
        asyncio.run(jars.install(maven, other))
    assert not tools.jars(PLUGIN.directory).exists()


def test_keeps_the_installed_jars_if_a_download_fails(
    maven: Installer, write_script: WriteScript
) -> None:
    directory = installed(maven)
    assert maven.maven is not None
    write_script(maven.maven, "echo '[ERROR] Could not resolve x'; exit 1")
    with pytest.raises(PlatformError, match=r"^plugin: mvn failed: Could not resolve x \(log: "):
        asyncio.run(jars.install(maven, PLUGIN))
    assert (directory / "a-1.jar").read_bytes() == b"good"


@pytest.mark.slow
@pytest.mark.integration
def test_maven_downloads_the_locked_jars(tools: Tools, installer: Installer) -> None:
    java = find_java(os.environ)
    program = find_maven(os.environ, java)
    maven = replace(installer, environment=os.environ, java=java, maven=program)
    shared = Tools(HomeLayout.of(PlatformSettings()).tools).cache("maven")
    shared.mkdir(parents=True, exist_ok=True)
    tools.cache("maven").parent.mkdir(parents=True)
    tools.cache("maven").symlink_to(shared)
    debezium = jars.read_lock()["connect/debezium"]
    asyncio.run(jars.install(maven, debezium))
    assert jars.is_current(tools, debezium)
    assert jars.faults(tools.jars("connect/debezium"), debezium) == {}
