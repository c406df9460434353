"""Java servers: command lines of the Kafka broker and Connect, and stack traces.

Standard library only, because a supervised server must start quickly.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

COULD_NOT_RUN = 3
"""The exit code of a server process that cannot start."""
_CAUSE = "Caused by: "


@dataclass(frozen=True, slots=True)
class JavaServer:
    """A Java server: the class `main` of the jars in the directory `jars`.

    `config` is the directory of `jvm.options`, `log4j2.properties` and the file `properties`.
    """

    main: str
    jars: Path
    config: Path
    properties: str

    def command(self, java: Path) -> list[str]:
        """Return the command that runs the server."""
        return [*self._jvm(java), self.main, str(self.config / self.properties)]

    def tool(self, java: Path, main: str, *arguments: str) -> list[str]:
        """Return the command that runs another class of the jars with the server's properties."""
        properties = str(self.config / self.properties)
        return [*self._jvm(java), main, *arguments, "--config", properties]

    def _jvm(self, java: Path) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.config / 'log4j2.properties'}"
        class_path = ":".join(map(str, sorted(self.jars.glob("*.jar"))))
        return [str(java), f"@{self.config / 'jvm.options'}", logging, "-cp", class_path]


def replace_process(server: JavaServer, java: Path, *, directory: Path) -> NoReturn:
    """Become `server`, run in `directory`; exit with one line on stderr if it cannot start.

    The environment is passed on.
    """
    try:
        os.chdir(directory)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    command = server.command(java)
    os.execv(command[0], command)  # noqa: S606 - a list, and no shell


def innermost_cause(trace: str) -> str | None:
    """Return the innermost "Caused by" of a Java stack trace, with its class, or None."""
    lines = (line.strip() for line in trace.splitlines())
    causes = [line.removeprefix(_CAUSE) for line in lines if line.startswith(_CAUSE)]
    return causes[-1] if causes else None
