"""The images of the platform, built on a test engine."""

import os
import runpy
import subprocess
import sys

from diabetes_platform.errors import PlatformError
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform_tests.clusters.engine import Engine

SCRIPT = PROJECT_ROOT / "infra" / "images" / "build.py"
_BUILD = runpy.run_path(str(SCRIPT), run_name="build")
IMAGES: tuple[str, ...] = tuple(f"{_BUILD['NAMESPACE']}/{name}" for name in _BUILD["IMAGES"])


def build_images(engine: Engine) -> str:
    """Build the images with the command of `make images`; returns their version."""
    environment = {**os.environ, **engine.environment}
    command = [sys.executable, str(SCRIPT)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PlatformError(f"images cannot be built: {result.stderr.strip()}")
    version: str = _BUILD["current_version"]()
    return version
