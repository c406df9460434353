"""Replaces this process by PostgreSQL, so that a supervisor has it as its own child.

`python -m diabetes_platform.local.postgres.serve --data-dir DIR --listen ADDRESSES --port PORT
--config FILE`
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diabetes_platform.errors import COULD_NOT_RUN, PlatformError
from diabetes_platform.local.postgres.data import environment, prepare, server_command

SUPERUSER_SECRET = "POSTGRES_PASSWORD"  # noqa: S105 - a variable's name
"""The variable with the superuser's password; read for a new data directory only."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server; exit with one line on stderr if it cannot start."""
    parser = argparse.ArgumentParser(prog="postgres.serve")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--listen", required=True, help="addresses, separated by commas")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(arguments)
    data_dir = options.data_dir.absolute()
    try:
        account = prepare(data_dir, options.port, _password)
        # No death signal: the kernel sends it when the parent's *thread* ends.
        command = [*account.prefix, *server_command(data_dir, options.config.absolute())]
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    arguments = [*command, f"--listen_addresses={options.listen}", f"--port={options.port}"]
    os.execvpe(command[0], arguments, environment())  # noqa: S606 - a list, and no shell


def _password() -> str:
    password = os.environ.get(SUPERUSER_SECRET)
    if not password:
        raise PlatformError(
            f"{SUPERUSER_SECRET} is not set: a new data directory needs the superuser's password"
        )
    return password


if __name__ == "__main__":
    main()
