"""PostgreSQL in this process's place, so that a supervisor's child is the server itself.

`python -m diabetes_platform.local.postgres.serve --data-dir DIR --port PORT --config FILE
--log FILE`
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.postgres.data import environment, prepare, server_command

SUPERUSER_SECRET = "POSTGRES_PASSWORD"  # noqa: S105 - a variable's name
"""Holds the superuser's password; asked where the data directory is new."""
COULD_NOT_RUN = 3
LARGEST_LOG = 20 * 2**20
"""Bytes at which the log is set aside when the server starts."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server; end with one line and an exit code where that cannot be."""
    given = _parser().parse_args(arguments)
    write_to(given.log.absolute())
    try:
        command = foreground_command(given.data_dir.absolute(), given.port, given.config.absolute())
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    os.execvpe(command[0], command, environment())  # noqa: S606 - a list, and no shell


def write_to(log: Path) -> None:
    """Append to `log` what this process and all that come from it print.

    A supervisor that reads a pipe waits for everyone who holds it: for sessions of a killed
    server too, before it starts the next.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())


def foreground_command(data_dir: Path, port: int, config_file: Path) -> list[str]:
    """Prepare `data_dir` and return the command that serves it; raises PlatformError."""
    account = prepare(data_dir, port, _password)
    # No death signal: it comes when the parent's *thread* ends, and a supervisor has many.
    return [*account.prefix, *server_command(data_dir, config_file), f"--port={port}"]


def _password() -> str:
    # Settings take long to import: only a new data directory waits for them.
    from diabetes_platform.settings import inherited_environment

    password = inherited_environment().get(SUPERUSER_SECRET)
    if not password:
        raise PlatformError(f"{SUPERUSER_SECRET}: given nothing, allowed the superuser's password")
    return password


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve_postgres")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
