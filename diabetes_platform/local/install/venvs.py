"""Python environments of the servers, which uv installs from hashed locks."""

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.install.progress import step_progress
from diabetes_platform.local.install.stamps import STAMP_FILE, Stamp, digest_of, read_stamp
from diabetes_platform.local.install.subprocesses import run
from diabetes_platform.local.install.tools import Installer, Tools
from diabetes_platform.settings import PROJECT_ROOT

PLATFORM_LOCK = PROJECT_ROOT / "requirements.lock"
_PYTHON_VARIABLES = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_TARGET",
    "PIP_USER",
)
_UNINTERESTING = ("Using ", "Activate ", "Resolved ", "Audited ", " + ", " - ", " ~ ")
"""Beginnings of uv's output lines that are not shown as progress."""


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment of a server.

    `build_lock` pins the build requirements of source distributions. `project` is installed as an
    editable package.
    """

    name: str
    lock: Path
    build_lock: Path
    project: Path | None = None

    @property
    def python(self) -> str:
        """The Python request for uv: the version range of the project, or else this Python."""
        if self.project is None:
            return sys.executable
        pyproject = (self.project / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(pyproject)["project"]["requires-python"])

    def digest(self, tools: Tools) -> str:
        """Return the digest for the stamp.

        It includes this Python and the directory, because the scripts contain both. It excludes
        the build lock, because the same sources give the same packages.
        """
        project = [] if self.project is None else [self.project / "pyproject.toml"]
        return digest_of(self.lock, *project, sys.version, str(tools.venv(self.name)))


def require_uv(tools: Tools) -> None:
    """Raise PlatformError unless the bootstrap has installed uv."""
    if not tools.uv.exists():
        raise PlatformError(f"the environments need uv and {tools.uv} is missing: run `make demo`")


def is_current(tools: Tools, venv: Venv) -> bool:
    """Whether the environment is complete and matches its lock."""
    directory = tools.venv(venv.name)
    stamp = read_stamp(directory / STAMP_FILE)
    return stamp == Stamp(venv.digest(tools)) and (directory / "bin" / "python").exists()


async def install(installer: Installer, venv: Venv) -> None:
    """Create the environment from scratch; raises PlatformError with the reason of a failure."""
    tools = installer.tools
    directory = tools.venv(venv.name)
    (directory / STAMP_FILE).unlink(missing_ok=True)
    python = str(directory / "bin" / "python")
    hashed = ["--require-hashes", "--build-constraints", str(venv.build_lock)]
    commands = [
        ["venv", "--clear", "--python", venv.python, str(directory)],
        ["pip", "sync", "--python", python, *hashed, str(venv.lock)],
    ]
    if venv.project is not None:
        options = ["--no-deps", "--no-build-isolation"]
        commands.append(["pip", "install", "--python", python, *options, "-e", str(venv.project)])
    with step_progress(f"venvs/{venv.name}", installer.on_event) as progress:

        def show(line: str) -> None:
            if line.strip() and not line.startswith(_UNINTERESTING):
                progress.running(line.strip())

        for arguments in commands:
            await run(
                [str(tools.uv), *arguments],
                step=venv.name,
                log=tools.log(f"{venv.name}-environment"),
                environment=uv_environment(tools, installer.environment),
                on_line=show,
            )
        Stamp(venv.digest(tools)).write(directory / STAMP_FILE)


def uv_environment(tools: Tools, environment: Mapping[str, str]) -> dict[str, str]:
    """Return uv's environment: it prefers this Python and keeps its caches below `tools`."""
    inherited = {k: v for k, v in environment.items() if k not in _PYTHON_VARIABLES}
    return {
        **inherited,
        "PATH": f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{environment.get('PATH', '')}",
        "UV_CACHE_DIR": str(tools.cache("uv")),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_INSTALL_DIR": str(tools.cache("python")),
        # uv leaves a lock file there.
        "TMPDIR": str(tools.root / "cache"),
    }
