"""The machine's Java and Maven: which are taken, and one clear line where they lack."""

from pathlib import Path

import pytest

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.install.java import find_java, find_maven, java_version


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
        ('openjdk version "25.0.1"', "need Java 17 or 21, .* is Java 25: install Java 17 or 21"),
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


def test_a_machine_without_maven_is_told_how_to_get_one() -> None:
    with pytest.raises(LauncherError, match="need Maven and there is none on PATH: install it"):
        find_maven({"PATH": "/nowhere"})
