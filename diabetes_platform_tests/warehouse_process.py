"""`python -m diabetes_platform_tests.warehouse_process DIRECTORY`: a warehouse for other projects.

Their environments hold neither PostgreSQL nor the migrations. Prints the URLs of the server's users
as one line of JSON and serves until its standard input ends; a line `stop` or `start` is an outage,
answered by `stopped` or `started`.
"""

import json
import secrets
import sys
from pathlib import Path

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform_tests.conftest import FAST
from diabetes_platform_tests.provisioned import CAPTURE, provision

USERS = ("api", "predictor")


def main(directory: Path) -> None:
    """Serve from a data directory below `directory`."""
    server = Postgres(
        directory / "data", free_port(), secrets.token_urlsafe(24), settings=FAST | CAPTURE
    )
    server.start()
    try:
        provisioned = provision(server)
        urls = {user: provisioned.url(user) for user in USERS}
        say(json.dumps({"superuser": server.url("diabetes"), **urls}))
        for line in sys.stdin:
            if line.strip() == "stop":
                server.stop()
                say("stopped")
            else:
                server.start()
                say("started")
    finally:
        server.stop()


def say(line: str) -> None:
    """Print at once, for who waits for it."""
    print(line, flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main(Path(sys.argv[1]))
