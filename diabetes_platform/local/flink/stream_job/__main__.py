"""The process `stream-job`: `python -m diabetes_platform.local.flink.stream_job`.

It runs until it is stopped; the job and its checkpoints stay on the cluster.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from diabetes_platform.clients.flink import FlinkCluster
from diabetes_platform.local.flink.client import Client
from diabetes_platform.local.flink.distribution import FlinkHome
from diabetes_platform.local.flink.stream_job.watcher import Watcher
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.install.java import find_java
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.signals import stoppable
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment


def main(arguments: Sequence[str]) -> None:
    """Watch the job forever; consecutive equal messages are printed once."""
    parser = argparse.ArgumentParser(prog="stream_job", description=__doc__)
    parser.add_argument(
        "--ready", type=Path, required=True, help="file that exists while the job runs"
    )
    ready = parser.parse_args(arguments).ready
    settings, environment = PlatformSettings(), inherited_environment()
    home = FlinkHome(Tools(HomeLayout.of(settings).tools))
    ready.unlink(missing_ok=True)
    watcher = Watcher(
        cluster=FlinkCluster(f"http://{HOST}:{settings.port(Port.FLINK)}"),
        client=Client(home, find_java(environment), environment),
        s3=settings.s3,
        bootstrap_servers=f"{HOST}:{settings.port(Port.KAFKA)}",
        ready=ready,
        log=without_repetition(print_now),
    )
    with stoppable():
        try:
            while True:
                time.sleep(watcher.poll())
        finally:
            # A leftover file would make a restarted process look ready.
            ready.unlink(missing_ok=True)


def print_now(text: str) -> None:
    """Print a line with the time; the supervisor writes it to the log."""
    time_of_day = datetime.now(tz=UTC).strftime("%H:%M:%S")
    print(f"{time_of_day} {text}", flush=True)  # noqa: T201


def without_repetition(log: Callable[[str], None]) -> Callable[[str], None]:
    """Return `log`, wrapped to drop a line that equals the previous one."""
    previous = ""

    def log_if_new(text: str) -> None:
        nonlocal previous
        if text != previous:
            log(text)
        previous = text

    return log_if_new


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
