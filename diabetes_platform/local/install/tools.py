"""Where installed software lies. Nothing is created here."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths below `root`, which every home of a checkout shares."""

    root: Path

    def program(self, name: str) -> Path:
        """Return the path of a program that is built here."""
        return self.root / "bin" / name

    def jars(self, directory: str) -> Path:
        """Return a directory of jars, named as in `infra/local/jars/jars.lock`."""
        return self.root / "jars" / directory

    def venv(self, name: str) -> Path:
        """Return a virtual environment."""
        return self.root / "venvs" / name

    def cache(self, name: str) -> Path:
        """Return what one installer downloads into; it may be removed at any time."""
        return self.root / "cache" / name

    def log(self, part: str) -> Path:
        """Return where the output of a part's installation goes."""
        return self.root / "logs" / f"install-{part}.log"

    @property
    def lock(self) -> Path:
        """Held while something is being installed."""
        return self.root / "install.lock"

    @property
    def uv(self) -> Path:
        """The uv of the bootstrap."""
        return self.root / "tools" / "uv" / "bin" / "uv"
