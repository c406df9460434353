"""The command line of a server's JVM, and the class archive that lets it start with less work.

Standard library only: a supervised server must not wait for imports.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

COULD_NOT_RUN = 3


class Archived(Protocol):
    """A server that an archive of classes is made for."""

    @property
    def name(self) -> str:
        """Its name, which the archive's begins with."""

    @property
    def class_path(self) -> tuple[Path, ...]:
        """Its jars, in order."""

    @property
    def option_files(self) -> tuple[Path, ...]:
        """Files of options of its JVM."""


@dataclass(frozen=True, slots=True)
class JavaServer:
    """A server in Java, the class `main` of `jars`.

    `config` is the directory of its `jvm.options`, its `log4j2.properties` and its own file,
    `properties`.
    """

    name: str
    main: str
    jars: Path
    config: Path
    properties: str

    @property
    def class_path(self) -> tuple[Path, ...]:
        """The jars in one order: an archive is valid for the class path that it was made with."""
        return tuple(sorted(self.jars.glob("*.jar")))

    @property
    def option_files(self) -> tuple[Path, ...]:
        """The options of its JVM."""
        return (self.config / "jvm.options",)

    def command(self, java: Path, options: Sequence[str] = ()) -> list[str]:
        """Return the command that runs it; `options` are further ones of the JVM."""
        return [*self._jvm(java, options), self.main, str(self.config / self.properties)]

    def tool(self, java: Path, main: str, *arguments: str) -> list[str]:
        """Return the command that runs another class of its jars, configured as it is itself."""
        return [
            *self._jvm(java, ()),
            main,
            *arguments,
            "--config",
            str(self.config / self.properties),
        ]

    def _jvm(self, java: Path, options: Sequence[str]) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.config / 'log4j2.properties'}"
        classes = ":".join(map(str, self.class_path))
        files = [f"@{file}" for file in self.option_files]
        return [str(java), *files, *options, logging, "-cp", classes]


def replace_process(
    server: JavaServer, java: Path, archive_directory: Path, *, directory: Path
) -> NoReturn:
    """Become `server`, run in `directory`; exit with one line on stderr if it cannot start.

    The environment is passed on. The class archive is used if it exists.
    """
    try:
        options = archive_options(archive_path(server, java, archive_directory))
        os.chdir(directory)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    command = server.command(java, options)
    os.execv(command[0], command)  # noqa: S606 - a list, and no shell


def archives(tools: Path) -> Path:
    """Return the directory of the class archives of Kafka and Connect."""
    return tools / "cds"


def archive_path(server: Archived, java: Path, directory: Path) -> Path:
    """Return where the class archive of `server` lies below `directory`, made or not.

    The name changes with Java, the jars and the JVM's options, without which the JVM would refuse
    the archive.
    """
    parts = [_identity(java.resolve().parents[1] / "lib" / "modules")]
    parts += [_identity(jar) for jar in server.class_path]
    parts += [options.read_text(encoding="utf-8") for options in server.option_files]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return directory / f"{server.name}-{digest[:12]}.jsa"


def archive_options(archive: Path) -> tuple[str, ...]:
    """Return the JVM's options with which `archive` is used; none where it is not made.

    One that does not fit after all costs a warning and a slower start.
    """
    return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto") if archive.exists() else ()


def _identity(file: Path) -> str:
    stat = file.stat()
    return f"{file} {stat.st_size} {stat.st_mtime_ns}"
