"""The layout of the platform's home directory, PLATFORM_HOME, and private files in it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


@dataclass(frozen=True, slots=True)
class HomeLayout:
    """Paths below `home`; nothing is created here."""

    home: Path

    @classmethod
    def of(cls, settings: PlatformSettings) -> "HomeLayout":
        """Return the layout of these settings."""
        return cls(settings.home.absolute())

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "postgres"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: the instance configuration and compute logs."""
        return self.home / "dagster"

    @property
    def secrets(self) -> Path:
        """The file with the generated passwords, readable by its owner only."""
        return self.home / "secrets.json"

    @property
    def running_lock(self) -> Path:
        """The lock that is held while the platform runs; `make clean` checks it too."""
        return self.home / "run" / "platform.lock"

    @property
    def batch_lock(self) -> Path:
        """The lock that is held while a command runs a batch or a rollback."""
        return self.home / "run" / "batch.lock"

    @property
    def data(self) -> tuple[Path, ...]:
        """The directories with patient data or metadata of it, except PostgreSQL's."""
        names = ("lake", "models", "data_docs", "logs", "dagster", "run")
        return tuple(self.home / name for name in names)

    @property
    def temporary(self) -> Path:
        """The directory of sockets and scratch files, emptied at each start."""
        return self.home / "run" / "tmp"

    @property
    def setup_seconds(self) -> Path:
        """The file in which the bootstrap writes how many seconds the set-up took."""
        return self.home / "run" / "set-up-seconds"

    def log(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.home / "logs" / f"{service}.log"

    def program(self, name: str) -> str:
        """Return the path of a program in the Python environment of this process."""
        return str(Path(sys.executable).parent / name)

    @property
    def tools(self) -> Path:
        """The directory of installed environments, servers and jars, shared by all homes."""
        return Path(sys.prefix).parents[1]

    @property
    def serving_python(self) -> Path:
        """The Python of the serving environment."""
        return self.tools / "venvs" / "serving" / "bin" / "python"

    @property
    def workspace(self) -> Path:
        """Dagster's workspace file."""
        return PROJECT_ROOT / "workspace.yaml"


def make_private(directory: Path) -> None:
    """Create `directory` with access for its owner only."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically; only its owner may read it at any time."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        file.write(text)
    new.rename(path)
