"""The servers' Python environments: uv makes each from its own hashed lock."""

import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.install import stamp
from diabetes_platform.local.install.report import Reporter
from diabetes_platform.local.install.running import run
from diabetes_platform.local.install.stamp import Stamp
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.settings import PROJECT_ROOT

PLATFORM_LOCK = PROJECT_ROOT / "requirements.lock"
_FOREIGN = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER")
_CHATTER = ("Using ", "Activate ", "Resolved ", "Audited ", " + ", " - ", " ~ ")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of a server's own."""

    name: str
    lock: Path
    build_lock: Path
    """Pins what builds those packages that come as source."""
    project: Path | None = None
    """Installed into it, editable; the environment has a Python that it allows."""

    @property
    def python(self) -> str:
        """What uv is asked for: this Python, or the first that the project allows."""
        if self.project is None:
            return sys.executable
        pyproject = (self.project / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(pyproject)["project"]["requires-python"])

    def digest(self, tools: Tools) -> str:
        """What the stamp is held to: its scripts name the Python and the directory.

        What builds its packages is not in it: the same sources give the same packages.
        """
        project = [] if self.project is None else [self.project / "pyproject.toml"]
        venv = str(tools.venv(self.name))
        return stamp.digest_of(self.lock, *project, sys.version, venv)


def find_uv(tools: Tools, environment: Mapping[str, str]) -> Path:
    """Return the bootstrap's uv, or the one on PATH."""
    found = str(tools.uv) if tools.uv.exists() else shutil.which("uv", path=environment.get("PATH"))
    if found is None:
        raise PlatformError(f"the environments need uv and {tools.uv} is missing: run `make demo`")
    return Path(found)


def is_current(tools: Tools, venv: Environment) -> bool:
    """Whether the environment was completed from these locks."""
    directory = tools.venv(venv.name)
    made = stamp.read_stamp(directory / stamp.NAME)
    return made == Stamp(venv.digest(tools)) and (directory / "bin" / "python").exists()


async def install(
    tools: Tools, venv: Environment, uv: Path, environment: Mapping[str, str], reporter: Reporter
) -> None:
    """Make the environment anew; raises PlatformError that says why it cannot."""
    directory = tools.venv(venv.name)
    (directory / stamp.NAME).unlink(missing_ok=True)
    python = str(directory / "bin" / "python")
    hashed = ["--require-hashes", "--build-constraints", str(venv.build_lock)]
    commands = [
        ["venv", "--clear", "--python", venv.python, str(directory)],
        ["pip", "sync", "--python", python, *hashed, str(venv.lock)],
    ]
    if venv.project is not None:
        alone = ["--no-deps", "--no-build-isolation"]
        commands.append(["pip", "install", "--python", python, *alone, "-e", str(venv.project)])
    for arguments in commands:
        await run(
            [str(uv), *arguments],
            part=venv.name,
            log=tools.log(f"{venv.name}-environment"),
            environment=uv_environment(tools, environment),
            on_line=partial(_tell, reporter),
        )
    Stamp(venv.digest(tools)).write(directory / stamp.NAME)


def uv_environment(tools: Tools, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for uv: this Python comes first, no cache lies outside `tools`."""
    kept = {name: value for name, value in environment.items() if name not in _FOREIGN}
    return {
        **kept,
        "PATH": f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{environment.get('PATH', '')}",
        "UV_CACHE_DIR": str(tools.cache("uv")),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_INSTALL_DIR": str(tools.cache("python")),
        # uv leaves a lock file there.
        "TMPDIR": str(tools.root / "cache"),
    }


def _tell(reporter: Reporter, line: str) -> None:
    if line.strip() and not line.startswith(_CHATTER):
        reporter.doing(line.strip())
