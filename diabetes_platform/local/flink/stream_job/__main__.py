"""The process `stream-job`: `python -m diabetes_platform.local.flink.stream_job`.

It goes on until it is stopped; the job stays on the cluster, with its checkpoints.
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
    """Watch for ever; each thing is said once until something else is."""
    parser = argparse.ArgumentParser(prog="stream_job", description=__doc__)
    parser.add_argument("--ready", type=Path, required=True, help="file that exists while it runs")
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
        say=once(print_now),
    )
    with stoppable():
        try:
            while True:
                time.sleep(watcher.look())
        finally:
            # Who starts next to find it would take the job for running.
            ready.unlink(missing_ok=True)


def print_now(text: str) -> None:
    """Print a line with its time; the supervisor keeps it as the log."""
    stamp = datetime.now(tz=UTC).strftime("%H:%M:%S")
    print(f"{stamp} {text}", flush=True)  # noqa: T201


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return `say` that is silent where the same is said again."""
    last = ""

    def told(text: str) -> None:
        nonlocal last
        if text != last:
            say(text)
        last = text

    return told


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(0)
