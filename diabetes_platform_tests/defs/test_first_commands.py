"""The commands a Dagster user tries first, in a copy of the checkout without settings."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PROJECT_ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what Dagster reads of the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        PROJECT_ROOT / "diabetes_platform",
        copy / "diabetes_platform",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "README.md", "dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT_ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def environment(checkout: Path) -> dict[str, str]:
    """A shell's own variables, and the copy in place of the checkout that is installed."""
    programs = Path(sys.executable).parent
    return {
        "PATH": os.pathsep.join([str(programs), "/usr/bin", "/bin"]),
        "HOME": str(checkout / "home"),
        "PYTHONPATH": str(checkout),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }


@pytest.fixture(scope="module")
def dg(checkout: Path, environment: dict[str, str]) -> Run:
    """Run a dg command in the copy."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["dg", *arguments],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_check_defs_loads_all_definitions(dg: Run) -> None:
    result = dg("check", "defs")
    assert result.returncode == 0, result.stderr
    assert "All definitions loaded successfully" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_scaffolded_asset_is_listed(dg: Run, checkout: Path) -> None:
    scaffolded = dg("scaffold", "defs", "dagster.asset", "x.py")
    assert scaffolded.returncode == 0, scaffolded.stderr
    try:
        listed = dg("list", "defs", "--json")
        assert listed.returncode == 0, listed.stderr
        keys = {asset["asset_key"] for asset in json.loads(listed.stdout)["assets"]}
        assert {"x", "raw/patients"} <= keys
    finally:
        (checkout / "diabetes_platform" / "defs" / "x.py").unlink()


def test_launch_writes_to_the_lake_of_the_checkout(dg: Run, checkout: Path) -> None:
    result = dg("launch", "--assets", "raw/patients")
    assert result.returncode == 0, result.stderr
    assert "RUN_SUCCESS" in result.stdout + result.stderr
    assert (checkout / ".platform" / "lake" / "raw" / "patients" / "_delta_log").is_dir()


def test_dev_serves_the_code_location(checkout: Path, environment: dict[str, str]) -> None:
    url = f"http://{HOST}:{(port := free_port())}"
    log = checkout / "dev.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["dg", "dev", "--host", HOST, "--port", str(port)],
            cwd=checkout,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _assets(url) > 0, timeout=240)
    finally:
        server.terminate()
        server.wait(60)
    assert "Traceback" not in log.read_text()


def _assets(url: str) -> int:
    """Return how many assets the webserver lists, 0 until it answers."""
    try:
        response = httpx.post(f"{url}/graphql", json={"query": "{ assetNodes { id } }"}, timeout=10)
    except httpx.TransportError:
        return 0
    return len(response.json()["data"]["assetNodes"]) if response.is_success else 0
