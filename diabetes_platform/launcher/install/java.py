"""The machine's Java and Maven: which are taken, and how to get one where there is none."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError

JAVA_VERSIONS = (17, 21)
_NEEDING = "Kafka, Spark and Flink"
_GET_JAVA = (
    "install Java 17 or 21 (Debian and Ubuntu: apt-get install openjdk-17-jdk-headless; "
    "macOS: brew install openjdk@17) and put it on PATH or name it with JAVA_HOME"
)
_GET_MAVEN = "install it (Debian and Ubuntu: apt-get install maven; macOS: brew install maven)"


def find_java(environment: Mapping[str, str]) -> Path:
    """Return the real path of a `java` that every server runs on; LauncherError says how to get it.

    `environment` is the caller's, of which JAVA_HOME or else PATH is searched.
    """
    home = environment.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java", path=_path(environment))
    if java is None:
        where = f"JAVA_HOME={home} has none" if home else "there is none on PATH"
        raise LauncherError(f"{_NEEDING} need Java and {where}: {_GET_JAVA}")
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = java_version(done.stderr)
    if version not in JAVA_VERSIONS:
        found = f"Java {version}" if version else "no Java that says its version"
        raise LauncherError(f"{_NEEDING} need Java 17 or 21, {java} is {found}: {_GET_JAVA}")
    return Path(java).resolve()


def java_version(output: str) -> int | None:
    """Return the major version in what `java -version` prints, or None where it has none."""
    match = re.search(r'version "(?:1\.)?(\d+)', output)
    return int(match.group(1)) if match else None


def find_maven(environment: Mapping[str, str]) -> Path:
    """Return the `mvn` on the caller's PATH; LauncherError says how to get one."""
    maven = shutil.which("mvn", path=_path(environment))
    if maven is None:
        raise LauncherError(f"the jars need Maven and there is none on PATH: {_GET_MAVEN}")
    return Path(maven)


def _path(environment: Mapping[str, str]) -> str:
    """The caller's PATH; shutil.which() takes None for this process's own."""
    return environment.get("PATH", "")
