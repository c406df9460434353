"""Python environments of the servers: hashed locks, the right Python, and when they are current."""

import asyncio
import sys
from pathlib import Path

import pytest

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.flink.distribution import DEVELOPMENT_ENVIRONMENT
from diabetes_platform.local.flink.distribution import ENVIRONMENT as FLINK
from diabetes_platform.local.install import venvs
from diabetes_platform.local.install.progress import StepStatus
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.local.install.venvs import Venv
from diabetes_platform.local.spark.service import ENVIRONMENT as SPARK
from diabetes_platform_tests.local.install.conftest import Events, WriteScript

ENVIRONMENTS = (SPARK, FLINK, DEVELOPMENT_ENVIRONMENT)


@pytest.fixture
def uv(tmp_path: Path, tools: Tools, write_script: WriteScript) -> Path:
    """A fake uv that records its arguments and creates the environment's Python."""
    script = f"""
    echo "$*" >> {tmp_path}/arguments; echo "Building pyspark==4.2.0"; echo " + pyspark==4.2.0"
    [ "$1" = venv ] || exit 0
    for directory; do :; done
    mkdir -p "$directory/bin"; touch "$directory/bin/python"
    """
    return write_script(tools.uv, script)


def uv_arguments(tmp_path: Path) -> list[str]:
    return (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda venv: venv.name)
def test_locks_have_hashes_and_build_locks_pin_setuptools(environment: Venv) -> None:
    assert "--hash=sha256:" in environment.lock.read_text(encoding="utf-8")
    assert "\nsetuptools==" in environment.build_lock.read_text(encoding="utf-8")


@pytest.mark.usefixtures("uv")
def test_installs_an_environment_from_its_hashed_lock(
    tmp_path: Path, tools: Tools, installer: Installer, events: Events
) -> None:
    assert not venvs.is_current(tools, SPARK)
    asyncio.run(venvs.install(installer, SPARK))
    assert venvs.is_current(tools, SPARK)
    create, sync = uv_arguments(tmp_path)
    assert create == f"venv --clear --python {sys.executable} {tools.venv('spark')}"
    assert f"--require-hashes --build-constraints {SPARK.build_lock} {SPARK.lock}" in sync
    assert set(events.texts(StepStatus.RUNNING)) == {"starting", "Building pyspark==4.2.0"}


@pytest.mark.usefixtures("uv")
def test_installs_a_project_without_resolving_its_dependencies(
    tmp_path: Path, tools: Tools, installer: Installer
) -> None:
    asyncio.run(venvs.install(installer, FLINK))
    create, _, project = uv_arguments(tmp_path)
    assert create == f"venv --clear --python >=3.11,<3.13 {tools.venv('flink')}"
    assert project.endswith(f"--no-deps --no-build-isolation -e {FLINK.project}")


def test_digest_changes_with_the_lock_and_the_directory(tmp_path: Path, tools: Tools) -> None:
    lock = tmp_path / "requirements.lock"
    build_lock = tmp_path / "build.lock"
    for file in (lock, build_lock):
        file.write_text("a==1", encoding="utf-8")
    venv = Venv("x", lock, build_lock)
    digest = venv.digest(tools)
    build_lock.write_text("setuptools==2", encoding="utf-8")
    assert venv.digest(tools) == digest, "the build lock does not count"
    assert venv.digest(Tools(tmp_path / "elsewhere")) != digest
    lock.write_text("a==2", encoding="utf-8")
    assert venv.digest(tools) != digest


def test_is_not_current_after_a_failed_installation(
    tools: Tools, uv: Path, installer: Installer, write_script: WriteScript
) -> None:
    asyncio.run(venvs.install(installer, SPARK))
    write_script(uv, "echo 'error: Failed to fetch'; exit 2")
    with pytest.raises(PlatformError, match="spark: uv failed: error: Failed to fetch"):
        asyncio.run(venvs.install(installer, SPARK))
    assert not venvs.is_current(tools, SPARK)


def test_uv_inherits_no_python_variables(tools: Tools) -> None:
    caller = {"PYTHONPATH": "/mine", "VIRTUAL_ENV": "/mine", "PATH": "/bin", "HTTPS_PROXY": "p"}
    environment = venvs.uv_environment(tools, caller)
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & environment.keys()
    assert environment["HTTPS_PROXY"] == "p"
    assert environment["PATH"] == f"{sys.base_prefix}/bin:/bin"
    assert environment["UV_CACHE_DIR"] == str(tools.cache("uv"))


def test_error_without_uv_names_the_command_that_installs_it(tools: Tools) -> None:
    with pytest.raises(PlatformError, match=r"need uv and .* is missing: run `make demo`"):
        venvs.require_uv(tools)
