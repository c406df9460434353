"""Paths of the installed software, and the programs that install it; nothing is created here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.local.install.progress import OnEvent


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths below `root`, the installation directory that all homes of a checkout share."""

    root: Path

    def program(self, name: str) -> Path:
        """Return the path of a program that is built from source."""
        return self.root / "bin" / name

    def jars(self, directory: str) -> Path:
        """Return a directory of jars; the names are those in `infra/local/jars/jars.lock`."""
        return self.root / "jars" / directory

    def venv(self, name: str) -> Path:
        """Return a virtual environment."""
        return self.root / "venvs" / name

    def cache(self, name: str) -> Path:
        """Return the download cache of an installer, which may be removed at any time."""
        return self.root / "cache" / name

    def log(self, step: str) -> Path:
        """Return the log of an installation step."""
        return self.root / "logs" / f"install-{step}.log"

    @property
    def lock(self) -> Path:
        """The lock file that an installation holds."""
        return self.root / "install.lock"

    @property
    def uv(self) -> Path:
        """The uv that the bootstrap installed."""
        return self.root / "tools" / "uv" / "bin" / "uv"


@dataclass(frozen=True, slots=True)
class Installer:
    """One installation below `tools`: programs of the machine, and the caller's environment.

    `maven` is None if no jars have to be installed.
    """

    tools: Tools
    java: Path
    environment: Mapping[str, str]
    maven: Path | None
    on_event: OnEvent
