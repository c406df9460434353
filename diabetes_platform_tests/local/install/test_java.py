"""Detection of Java and Maven, and the error if one is missing or has a wrong version."""

from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.java import (
    find_java,
    find_maven,
    java_version,
    maven_version,
)
from diabetes_platform_tests.local.install.conftest import WriteScript

JAVA = Path("/opt/jdk/bin/java")


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "25.0.1"', 25),
        ('IMPLEMENTOR="Eclipse"\nJAVA_VERSION="21.0.4"', 21),
        ('JAVA_RUNTIME_VERSION="21.0.4"', None),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_version(output: str, version: int | None) -> None:
    assert java_version(output) == version


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ('openjdk version "25.0.1"', "need Java 17 or 21, .* is Java 25: install Java 17 or 21"),
        ("no runtime", "is a Java of unknown version: install Java 17 or 21"),
    ],
)
def test_rejects_other_java_versions_with_instructions(
    tmp_path: Path, output: str, message: str
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{output}' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    with pytest.raises(PlatformError, match=message):
        find_java({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PATH": "/nowhere"}, "need Java, which is not on PATH: install Java 17 or 21"),
        (
            {"PATH": "/nowhere", "JAVA_HOME": "/nowhere"},
            "which is not in JAVA_HOME=/nowhere: install",
        ),
        ({}, "which is not on PATH"),
    ],
)
def test_error_without_java_has_instructions(environment: dict[str, str], message: str) -> None:
    with pytest.raises(PlatformError, match=message) as caught:
        find_java(environment)
    assert "\n" not in str(caught.value)


def test_reads_the_java_version_from_the_release_file(
    tmp_path: Path, write_script: WriteScript
) -> None:
    java = write_script(tmp_path / "jdk" / "bin" / "java", "exit 1")
    (tmp_path / "jdk" / "release").write_text('IMPLEMENTOR="x"\nJAVA_VERSION="21.0.2"\n')
    link = tmp_path / "bin" / "java"
    link.parent.mkdir()
    link.symlink_to(java)
    assert find_java({"PATH": str(link.parent)}) == java
    assert find_java({"PATH": "/nowhere", "JAVA_HOME": str(tmp_path / "jdk")}) == java


def test_resolves_a_stub_to_the_java_behind_it(tmp_path: Path, write_script: WriteScript) -> None:
    output = 'Property settings:\n    java.home = /opt/jdk 17\n\nopenjdk version "17.0.1"'
    write_script(tmp_path / "java", f"echo '{output}' >&2")
    assert find_java({"PATH": str(tmp_path)}) == Path("/opt/jdk 17/bin/java")


def test_error_without_maven_has_instructions() -> None:
    with pytest.raises(PlatformError, match="need Maven, which is not on PATH: install it"):
        find_maven({"PATH": "/nowhere"}, JAVA)


def test_checks_maven_with_the_java_that_it_will_run_on(
    tmp_path: Path, write_script: WriteScript
) -> None:
    maven = write_script(
        tmp_path / "mvn", '[ "$JAVA_HOME" = /opt/jdk ] && echo "Apache Maven 3.8.7 (x)"'
    )
    assert find_maven({"PATH": str(tmp_path)}, JAVA) == maven


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("Apache Maven 3.6.1", "need Maven 3.6.3 or newer, .*/mvn is Maven 3.6.1: install it"),
        ("The JAVA_HOME variable is not defined", "is not a working Maven: install it"),
    ],
)
def test_rejects_other_maven_versions_with_instructions(
    tmp_path: Path, write_script: WriteScript, output: str, message: str
) -> None:
    write_script(tmp_path / "mvn", f"echo '{output}'")
    with pytest.raises(PlatformError, match=message) as caught:
        find_maven({"PATH": str(tmp_path)}, JAVA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Apache Maven 3.8.7\nMaven home: /usr/share/maven", (3, 8, 7)),
        ("Apache Maven 4.0.0-rc-4 (bed0f8174bf728978f86fac533aa38a9511f3872)", (4, 0, 0)),
        ("mvn: command not found", None),
    ],
)
def test_maven_version(output: str, version: tuple[int, ...] | None) -> None:
    assert maven_version(output) == version
