"""The machine's Java and Maven: which are taken, and how to get one where there is none."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.errors import PlatformError

JAVA_VERSIONS = (17, 21)
MAVEN_VERSION = (3, 6, 3)
"""What the plugin that copies the jars asks for."""
_NEEDING = "Kafka, Spark and Flink"
_GET_JAVA = (
    "install Java 17 or 21 (Debian and Ubuntu: apt-get install openjdk-17-jdk-headless; "
    "macOS: brew install openjdk@17) and put it on PATH or name it with JAVA_HOME"
)
_GET_MAVEN = "install it (Debian and Ubuntu: apt-get install maven; macOS: brew install maven)"


@dataclass(frozen=True, slots=True)
class _Runtime:
    java: Path
    version: int | None


def find_java(environment: Mapping[str, str]) -> Path:
    """Return the `java` that every server runs on; PlatformError says how to get one.

    `environment` is the caller's, of which JAVA_HOME or else PATH is searched. The result is no
    link or stub: `result.parents[1]` is its JAVA_HOME.
    """
    home = environment.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java", path=_path(environment))
    if java is None:
        where = f"JAVA_HOME={home} has none" if home else "there is none on PATH"
        raise PlatformError(f"{_NEEDING} need Java and {where}: {_GET_JAVA}")
    runtime = _runtime_of(Path(java).resolve())
    if runtime.version not in JAVA_VERSIONS:
        found = f"Java {runtime.version}" if runtime.version else "no Java that says its version"
        raise PlatformError(f"{_NEEDING} need Java 17 or 21, {java} is {found}: {_GET_JAVA}")
    return runtime.java


def _runtime_of(java: Path) -> _Runtime:
    """Ask the file beside `java`, which is quick, or else `java` itself: it may be a stub."""
    release = java.parents[1] / "release"
    if release.exists():
        return _Runtime(java, java_version(release.read_text(encoding="utf-8", errors="replace")))
    command = [str(java), "-XshowSettings:properties", "-version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    home = re.search(r"^ *java\.home = (.+)$", said, re.MULTILINE)
    return _Runtime(Path(home[1]) / "bin" / "java" if home else java, java_version(said))


def java_version(output: str) -> int | None:
    """Return the major version in what Java says or its `release` file, None where it has none."""
    match = re.search(r'(?:version |^JAVA_VERSION=)"(?:1\.)?(\d+)', output, re.MULTILINE)
    return int(match.group(1)) if match else None


def find_maven(environment: Mapping[str, str], java: Path) -> Path:
    """Return the `mvn` on the caller's PATH; PlatformError says how to get one that is new enough.

    It is asked with `java`, which it will run on.
    """
    maven = shutil.which("mvn", path=_path(environment))
    if maven is None:
        raise PlatformError(f"the jars need Maven and there is none on PATH: {_GET_MAVEN}")
    with_java = {**environment, "JAVA_HOME": str(java.parents[1])}
    command = [maven, "-B", "--version"]
    done = subprocess.run(command, env=with_java, capture_output=True, text=True, check=False)
    version = maven_version(done.stdout)
    if version is None or version < MAVEN_VERSION:
        needed = ".".join(map(str, MAVEN_VERSION))
        found = "Maven " + ".".join(map(str, version)) if version else "no Maven that works"
        raise PlatformError(
            f"the jars need Maven {needed} or newer, {maven} is {found}: {_GET_MAVEN}"
        )
    return Path(maven)


def maven_version(output: str) -> tuple[int, ...] | None:
    """Return the version in what `mvn --version` prints, or None where it has none."""
    match = re.search(r"Apache Maven (\d+)\.(\d+)\.(\d+)", output)
    return tuple(map(int, match.groups())) if match else None


def _path(environment: Mapping[str, str]) -> str:
    """The caller's PATH; shutil.which() takes None for this process's own."""
    return environment.get("PATH", "")
