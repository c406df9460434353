"""The servers' environments: held to hashes, and made with a Python that their project allows."""

import asyncio
import sys
from pathlib import Path

import pytest

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.flink.install import DEVELOPMENT_ENVIRONMENT
from diabetes_platform.local.flink.install import ENVIRONMENT as FLINK
from diabetes_platform.local.install import environments
from diabetes_platform.local.install.environments import Environment
from diabetes_platform.local.install.report import Reporter, State
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.spark.service import ENVIRONMENT as SPARK
from diabetes_platform_tests.local.install.conftest import Program, Reports

ENVIRONMENTS = (SPARK, FLINK, DEVELOPMENT_ENVIRONMENT)


@pytest.fixture
def uv(tmp_path: Path, program: Program) -> Path:
    """A uv that notes what it is told, and makes the Python that is looked for."""
    script = f"""
    echo "$*" >> {tmp_path}/given; echo "Building pyspark==4.2.0"; echo " + pyspark==4.2.0"
    [ "$1" = venv ] || exit 0
    for directory; do :; done
    mkdir -p "$directory/bin"; touch "$directory/bin/python"
    """
    return program(tmp_path / "uv", script)


def given_to_uv(tmp_path: Path) -> list[str]:
    return (tmp_path / "given").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda venv: venv.name)
def test_each_lock_is_there_and_pins_what_builds_it(environment: Environment) -> None:
    assert "--hash=sha256:" in environment.lock.read_text(encoding="utf-8")
    assert "\nsetuptools==" in environment.build_lock.read_text(encoding="utf-8")


def test_an_environment_is_made_once(
    tmp_path: Path, tools: Tools, uv: Path, reporter: Reporter, reports: Reports
) -> None:
    assert not environments.is_current(tools, SPARK)
    asyncio.run(environments.install(tools, SPARK, uv, {}, reporter))
    assert environments.is_current(tools, SPARK)
    made, synced = given_to_uv(tmp_path)
    assert made == f"venv --clear --python {sys.executable} {tools.venv('spark')}"
    assert f"--require-hashes --build-constraints {SPARK.build_lock} {SPARK.lock}" in synced
    assert set(reports.texts(State.DOING)) == {"Building pyspark==4.2.0"}


def test_a_project_is_installed_without_a_look_at_its_dependencies(
    tmp_path: Path, tools: Tools, uv: Path, reporter: Reporter
) -> None:
    asyncio.run(environments.install(tools, FLINK, uv, {}, reporter))
    made, _, project = given_to_uv(tmp_path)
    assert made == f"venv --clear --python >=3.11,<3.13 {tools.venv('flink')}"
    assert project.endswith(f"--no-deps --no-build-isolation -e {FLINK.project}")


def test_a_change_of_a_lock_or_of_the_place_makes_it_anew(tmp_path: Path, tools: Tools) -> None:
    lock = tmp_path / "requirements.lock"
    build_lock = tmp_path / "build.lock"
    for file in (lock, build_lock):
        file.write_text("a==1", encoding="utf-8")
    venv = Environment("x", lock, build_lock)
    before = venv.digest(tools)
    build_lock.write_text("setuptools==2", encoding="utf-8")
    assert venv.digest(tools) == before, "what built it does not change it"
    assert venv.digest(Tools(tmp_path / "elsewhere")) != before
    lock.write_text("a==2", encoding="utf-8")
    assert venv.digest(tools) != before


def test_an_environment_that_could_not_be_made_is_not_current(
    tmp_path: Path, tools: Tools, uv: Path, reporter: Reporter, program: Program
) -> None:
    asyncio.run(environments.install(tools, SPARK, uv, {}, reporter))
    broken = program(tmp_path / "broken", "echo 'error: Failed to fetch'; exit 2")
    with pytest.raises(PlatformError, match="spark: broken failed: error: Failed to fetch"):
        asyncio.run(environments.install(tools, SPARK, broken, {}, reporter))
    assert not environments.is_current(tools, SPARK)


def test_nothing_of_the_callers_own_python_is_passed_on(tools: Tools) -> None:
    caller = {"PYTHONPATH": "/mine", "VIRTUAL_ENV": "/mine", "PATH": "/bin", "HTTPS_PROXY": "p"}
    environment = environments.uv_environment(tools, caller)
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & environment.keys()
    assert environment["HTTPS_PROXY"] == "p"
    assert environment["PATH"] == f"{sys.base_prefix}/bin:/bin"
    assert environment["UV_CACHE_DIR"] == str(tools.cache("uv"))


def test_the_bootstraps_uv_is_taken_before_the_one_on_path(
    tmp_path: Path, tools: Tools, uv: Path, program: Program
) -> None:
    assert environments.find_uv(tools, {"PATH": str(tmp_path)}) == uv
    program(tools.uv, "exit 0")
    assert environments.find_uv(tools, {"PATH": str(tmp_path)}) == tools.uv


def test_without_uv_the_set_up_is_named(tools: Tools) -> None:
    with pytest.raises(PlatformError, match=r"need uv and .* is missing: run `make demo`"):
        environments.find_uv(tools, {})
