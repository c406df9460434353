"""Apache Spark's distribution and the jars beside it, below the platform's home."""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.install.java import find_java, find_maven
from diabetes_platform.launcher.spark_server import CONF_DIR, SERVICE, SparkInstallation
from diabetes_platform.settings import PROJECT_ROOT

LOCK = CONF_DIR / "requirements.lock"
BUILD_LOCK = PROJECT_ROOT / "requirements.lock"
POM = PROJECT_ROOT / "infra" / "local" / "jars" / "pom.xml"
_STAMP = "locked-by"


def install_spark(home: Path, environment: Mapping[str, str]) -> SparkInstallation:
    """Install the distribution and the jars below `home`, each where its lock or pom has changed.

    `environment` is the caller's. Nothing lands outside `home`. LauncherError says in one line
    what is missing.
    """
    installation = SparkInstallation(home)
    find_java(environment)
    if not _is_current(installation.venv, LOCK):
        caches = {**environment, "UV_CACHE_DIR": str(home / "cache" / "uv")}
        _install_distribution(installation.venv, caches, find_uv(home, environment))
        _write_stamp(installation.venv, LOCK)
    if not _is_current(installation.jars, POM):
        _copy_jars(installation.jars, home / "cache" / "maven", environment)
        _write_stamp(installation.jars, POM)
    return installation


def find_uv(home: Path, environment: Mapping[str, str]) -> Path:
    """Return the uv that the set-up installed below `home`, or the one on PATH."""
    installed = home / "tools" / "uv" / "bin" / "uv"
    found = (
        str(installed)
        if installed.exists()
        else shutil.which("uv", path=environment.get("PATH", ""))
    )
    if found is None:
        raise LauncherError(f"{SERVICE} needs uv and {installed} is missing: run `make demo`")
    return Path(found)


def _install_distribution(venv: Path, environment: Mapping[str, str], uv: Path) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    _run([str(uv), "venv", "-q", str(venv)], environment)
    # It comes as source: its build tools are held to hashes too, those of the platform's lock.
    target = ["--python", str(venv / "bin" / "python"), "--require-hashes"]
    target += ["--build-constraints", str(BUILD_LOCK)]
    _run([str(uv), "pip", "sync", "-q", *target, str(LOCK)], environment)


def _copy_jars(jars: Path, repository: Path, environment: Mapping[str, str]) -> None:
    shutil.rmtree(jars, ignore_errors=True)
    command = [
        str(find_maven(environment)),
        "-B",
        "-q",
        "--strict-checksums",
        "-f",
        str(POM),
        "-P",
        "spark",
    ]
    command += [f"-Dmaven.repo.local={repository}", f"-DoutputDirectory={jars}"]
    _run([*command, "dependency:copy-dependencies"], environment)


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise LauncherError(f"{SERVICE}: {Path(command[0]).name} failed: {lines[0]}")


def _is_current(directory: Path, source: Path) -> bool:
    stamp = directory / _STAMP
    return stamp.exists() and stamp.read_text(encoding="ascii") == _digest(source)


def _write_stamp(directory: Path, source: Path) -> None:
    (directory / _STAMP).write_text(_digest(source), encoding="ascii")


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()
