"""Apache Spark's Connect server: which Java it takes, and one clear line where something lacks."""

import os
from pathlib import Path

import pytest

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.spark_server import (
    BUILD_LOCK,
    POM,
    SparkConnectServer,
    SparkInstallation,
    find_java,
    find_uv,
    install_spark,
    java_version,
)
from diabetes_platform.settings import PlatformSettings


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "25.0.1"', 25),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_version(output: str, version: int | None) -> None:
    assert java_version(output) == version


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ('openjdk version "25.0.1"', "needs Java 17 or 21, .* is Java 25: install Java 17 or 21"),
        ("no runtime", "is no Java that says its version: install Java 17 or 21"),
    ],
)
def test_another_java_is_refused_with_how_to_get_one(
    tmp_path: Path, says: str, message: str
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{says}' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    with pytest.raises(LauncherError, match=message):
        find_java({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PATH": "/nowhere"}, "there is none on PATH: install Java 17 or 21"),
        ({"PATH": "/nowhere", "JAVA_HOME": "/nowhere"}, "JAVA_HOME=/nowhere has none: install"),
        ({}, "there is none on PATH"),
    ],
)
def test_a_machine_without_java_is_told_how_to_get_one(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(LauncherError, match=message) as caught:
        find_java(environment)
    assert "\n" not in str(caught.value)


def test_without_uv_the_set_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"needs uv and .* is missing: run `make demo`"):
        find_uv(tmp_path, {})


def test_a_server_that_is_not_installed_says_so(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=f"no jars in {tmp_path}"):
        SparkConnectServer(SparkInstallation(tmp_path), os.environ).start()


def test_a_server_that_cannot_start_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    submit = tmp_path / "venvs/spark/lib/python3.11/site-packages/pyspark/bin/spark-submit"
    submit.parent.mkdir(parents=True)
    submit.write_text("#!/bin/sh\necho 'no room for the heap'\nexit 3\n", encoding="utf-8")
    submit.chmod(0o755)
    jar = tmp_path / "jars" / "spark" / "delta.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    server = SparkConnectServer(SparkInstallation(tmp_path), os.environ)
    with pytest.raises(LauncherError, match="ended with code 3: no room for the heap"):
        server.start()
    assert server.pid is None


def test_what_builds_spark_is_held_to_hashes_too(tmp_path: Path) -> None:
    given = tmp_path / "given"
    venv = tmp_path / "venvs" / "spark"
    program(tmp_path / "tools/uv/bin/uv", f'mkdir -p {venv}; echo "$*" >> {given}')
    program(tmp_path / "bin/java", """echo 'openjdk version "17.0.1"' >&2""")
    with pytest.raises(LauncherError, match="needs Maven"):
        install_spark(tmp_path, {"PATH": f"{tmp_path / 'bin'}"})
    sync = given.read_text(encoding="utf-8").splitlines()[-1]
    assert f"--require-hashes --build-constraints {BUILD_LOCK}" in sync
    assert "\nsetuptools==" in BUILD_LOCK.read_text(encoding="utf-8")


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_installing_again_changes_nothing() -> None:
    home = PlatformSettings().home.absolute()
    installation = install_spark(home, os.environ)
    jars = {jar: jar.stat().st_mtime_ns for jar in installation.jars.glob("*.jar")}
    assert {jar.name.rpartition("-")[0] for jar in jars} == {
        "delta-spark_4.2_2.13",
        "delta-storage",
    }
    assert install_spark(home, os.environ) == installation
    assert {jar: jar.stat().st_mtime_ns for jar in installation.jars.glob("*.jar")} == jars
    assert POM.exists()
