"""Where the launcher's files lie below the platform's home."""

import sys
from dataclasses import dataclass
from pathlib import Path

from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below `home`; nothing is created here."""

    home: Path

    @classmethod
    def of(cls, settings: PlatformSettings) -> "Layout":
        """Return the layout of these settings."""
        return cls(settings.home.absolute())

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "postgres"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: the instance's configuration and its compute logs."""
        return self.home / "dagster"

    @property
    def secrets(self) -> Path:
        """The generated passwords, readable by their owner only."""
        return self.home / "secrets.json"

    @property
    def running_lock(self) -> Path:
        """Held while the platform runs; `make clean` asks it too."""
        return self.home / "run" / "platform.lock"

    @property
    def batch_lock(self) -> Path:
        """Held by the command that runs a batch or a rollback."""
        return self.home / "run" / "batch.lock"

    @property
    def data(self) -> tuple[Path, ...]:
        """Directories that hold measurements or speak of them, besides PostgreSQL's own."""
        names = ("lake", "models", "data_docs", "logs", "dagster", "run")
        return tuple(self.home / name for name in names)

    @property
    def temporary(self) -> Path:
        """Sockets and scratch files of the running services; emptied at each start."""
        return self.home / "run" / "tmp"

    @property
    def setup_seconds(self) -> Path:
        """How long the set-up before this start took, written by the bootstrap."""
        return self.home / "run" / "set-up-seconds"

    def log(self, service: str) -> Path:
        """Where a service's output goes."""
        return self.home / "logs" / f"{service}.log"

    def program(self, name: str) -> str:
        """Return the path of a program of the environment that this process runs in."""
        return str(Path(sys.executable).parent / name)

    @property
    def tools(self) -> Path:
        """What was installed: environments, servers, jars. Every home of a checkout shares it."""
        return Path(sys.prefix).parents[1]

    @property
    def serving_python(self) -> Path:
        """The Python of the API's own environment."""
        return self.tools / "venvs" / "serving" / "bin" / "python"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor prints about itself and the processes."""
        return self.home / "logs" / "supervisor.log"

    @property
    def workspace(self) -> Path:
        """Dagster's list of code locations."""
        return PROJECT_ROOT / "workspace.yaml"
