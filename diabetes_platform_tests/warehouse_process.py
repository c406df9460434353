"""A warehouse for the tests of other projects: `python -m … DIRECTORY`.

Their environments contain neither PostgreSQL nor the migrations. It prints the URLs of the server's
users as one line of JSON and serves until its standard input ends. The lines `stop` and `start`
simulate an outage; the answers are `stopped` and `started`. The lines `freeze` and `thaw` stop all
processes of the server (SIGSTOP) and continue them; the answers are `frozen` and `thawed`.
"""

import json
import secrets
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil

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
        reply(json.dumps({"superuser": server.url("diabetes"), **urls}))
        for line in sys.stdin:
            match line.strip():
                case "stop":
                    server.stop()
                    reply("stopped")
                case "start":
                    server.start()
                    reply("started")
                case "freeze":
                    signal_all(server, signal.SIGSTOP)
                    reply("frozen")
                case "thaw":
                    signal_all(server, signal.SIGCONT)
                    reply("thawed")
    finally:
        server.stop()


def signal_all(server: Postgres, number: signal.Signals) -> None:
    """Send a signal to the server and its sessions, each of which is a process group."""
    postmaster = psutil.Process(server.pid)
    for process in [postmaster, *postmaster.children()]:
        # A session may end between the two lines.
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def reply(line: str) -> None:
    """Print a line and flush it."""
    print(line, flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main(Path(sys.argv[1]))
