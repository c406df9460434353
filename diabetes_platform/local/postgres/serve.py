"""Replaces this process by PostgreSQL, so that a supervisor has it as its own child.

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
"""The variable with the superuser's password; read for a new data directory only."""
COULD_NOT_RUN = 3
MAX_LOG_BYTES = 20 * 2**20
"""A larger log is rotated when the server starts."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server; exit with one line in the log if it cannot start."""
    options = _parser().parse_args(arguments)
    redirect_output(options.log.absolute())
    try:
        command = foreground_command(
            options.data_dir.absolute(), options.port, options.config.absolute()
        )
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    os.execvpe(command[0], command, environment())  # noqa: S606 - a list, and no shell


def redirect_output(log: Path) -> None:
    """Append the output of this process and its children to `log`.

    With a pipe, a supervisor would wait for all processes that hold the pipe, also for the sessions
    of a killed server, before it starts the next server.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())


def foreground_command(data_dir: Path, port: int, config_file: Path) -> list[str]:
    """Prepare `data_dir` and return the server's command; raises PlatformError."""
    account = prepare(data_dir, port, _password)
    # No death signal: the kernel sends it when the parent's *thread* ends.
    return [*account.prefix, *server_command(data_dir, config_file), f"--port={port}"]


def _password() -> str:
    # Imported here because settings are slow to import, and only a new data directory needs them.
    from diabetes_platform.settings import inherited_environment

    password = inherited_environment().get(SUPERUSER_SECRET)
    if not password:
        raise PlatformError(
            f"{SUPERUSER_SECRET} is not set: a new data directory needs the superuser's password"
        )
    return password


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="postgres.serve")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
