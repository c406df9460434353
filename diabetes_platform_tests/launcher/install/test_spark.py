"""Apache Spark's installation: held to hashes, and left alone where it is current."""

import os
from pathlib import Path

import pytest

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.install.spark import BUILD_LOCK, POM, find_uv, install_spark
from diabetes_platform.settings import PlatformSettings


def test_without_uv_the_set_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"needs uv and .* is missing: run `make demo`"):
        find_uv(tmp_path, {})


def test_what_builds_spark_is_held_to_hashes_too(tmp_path: Path) -> None:
    given = tmp_path / "given"
    venv = tmp_path / "venvs" / "spark"
    program(tmp_path / "tools/uv/bin/uv", f'mkdir -p {venv}; echo "$*" >> {given}')
    program(tmp_path / "bin/java", """echo 'openjdk version "17.0.1"' >&2""")
    with pytest.raises(LauncherError, match="need Maven"):
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
