"""Detection of the machine's Java and Maven, with instructions if they are missing."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.errors import PlatformError

JAVA_VERSIONS = (17, 21)
MAVEN_VERSION = (3, 6, 3)
"""The minimum of the plugin that copies the jars."""
_JAVA_SERVERS = "Kafka, Spark and Flink"
_INSTALL_JAVA = (
    "install Java 17 or 21 (Debian and Ubuntu: apt-get install openjdk-17-jdk-headless; "
    "macOS: brew install openjdk@17) and put it on PATH or name it with JAVA_HOME"
)
_INSTALL_MAVEN = "install it (Debian and Ubuntu: apt-get install maven; macOS: brew install maven)"


def find_java(environment: Mapping[str, str]) -> Path:
    """Return the `java` that every server runs on.

    Searches JAVA_HOME of the caller's `environment`, or else PATH. Links and stubs are resolved:
    `result.parents[1]` is the JAVA_HOME. Raises PlatformError with instructions.
    """
    home = environment.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java", path=_path(environment))
    if java is None:
        location = f"in JAVA_HOME={home}" if home else "on PATH"
        raise PlatformError(f"{_JAVA_SERVERS} need Java, which is not {location}: {_INSTALL_JAVA}")
    resolved, version = _inspect(Path(java).resolve())
    if version not in JAVA_VERSIONS:
        actual = f"Java {version}" if version else "a Java of unknown version"
        raise PlatformError(
            f"{_JAVA_SERVERS} need Java 17 or 21, {java} is {actual}: {_INSTALL_JAVA}"
        )
    return resolved


def _inspect(java: Path) -> tuple[Path, int | None]:
    """Return the real `java` and its version.

    Reads the `release` file, which is quick, or else runs `java`, which may be a stub.
    """
    release = java.parents[1] / "release"
    if release.exists():
        return java, java_version(release.read_text(encoding="utf-8", errors="replace"))
    command = [str(java), "-XshowSettings:properties", "-version"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    home = re.search(r"^ *java\.home = (.+)$", output, re.MULTILINE)
    return Path(home[1]) / "bin" / "java" if home else java, java_version(output)


def java_version(output: str) -> int | None:
    """Return the major version from Java's output or its `release` file, or None."""
    match = re.search(r'(?:version |^JAVA_VERSION=)"(?:1\.)?(\d+)', output, re.MULTILINE)
    return int(match.group(1)) if match else None


def find_maven(environment: Mapping[str, str], java: Path) -> Path:
    """Return the `mvn` on the caller's PATH, which will run on `java`.

    Raises PlatformError with instructions if it is missing or too old.
    """
    maven = shutil.which("mvn", path=_path(environment))
    if maven is None:
        raise PlatformError(f"the jars need Maven, which is not on PATH: {_INSTALL_MAVEN}")
    with_java = {**environment, "JAVA_HOME": str(java.parents[1])}
    command = [maven, "-B", "--version"]
    result = subprocess.run(command, env=with_java, capture_output=True, text=True, check=False)
    version = maven_version(result.stdout)
    if version is None or version < MAVEN_VERSION:
        minimum = ".".join(map(str, MAVEN_VERSION))
        actual = "Maven " + ".".join(map(str, version)) if version else "not a working Maven"
        raise PlatformError(
            f"the jars need Maven {minimum} or newer, {maven} is {actual}: {_INSTALL_MAVEN}"
        )
    return Path(maven)


def maven_version(output: str) -> tuple[int, ...] | None:
    """Return the version in the output of `mvn --version`, or None."""
    match = re.search(r"Apache Maven (\d+)\.(\d+)\.(\d+)", output)
    return tuple(map(int, match.groups())) if match else None


def _path(environment: Mapping[str, str]) -> str:
    """Return the caller's PATH, "" if unset: with None, shutil.which() would use this process's."""
    return environment.get("PATH", "")
