"""Kafka's broker or its Connect worker in this process's place, so that a supervisor has them
as its own children.

`python -m diabetes_platform.local.kafka.serve broker --data-dir DIR --java JAVA --tools DIR
--infra DIR`, or `worker` without a data directory. Their own configuration takes hosts, ports and
passwords from the environment, which stays as it is.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.jvm import JavaServer, archive_options, archive_path
from diabetes_platform.local.kafka.data import prepare

COULD_NOT_RUN = 3
_STORAGE_TOOL = "kafka.tools.StorageTool"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server; end with one line and an exit code where that cannot be."""
    given = _parser().parse_args(arguments)
    java, tools, infra = given.java.absolute(), given.tools.absolute(), given.infra.absolute()
    server = broker(tools, infra) if given.server == "broker" else worker(tools, infra)
    try:
        command = server.command(java, archive_options(archive_path(server, java, archives(tools))))
        if given.server == "broker":
            prepare(given.data_dir.absolute(), format_command(server, java))
    except (LauncherError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    # The worker's plugin path is relative to the working directory.
    os.chdir(tools)
    os.execv(command[0], command)  # noqa: S606 - a list, and no shell


def broker(tools: Path, infra: Path) -> JavaServer:
    """Return the broker of the installation `tools`, configured by `infra`."""
    jars = tools / "jars" / "kafka"
    return JavaServer("kafka", "kafka.Kafka", jars, infra / "kafka", "broker.properties")


def worker(tools: Path, infra: Path) -> JavaServer:
    """Return the Connect worker, whose working directory is `tools`."""
    jars = tools / "jars" / "kafka"
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    return JavaServer("connect", main, jars, infra / "connect", "worker.properties")


def archives(tools: Path) -> Path:
    """Return the directory of the class archives."""
    return tools / "cds"


def format_command(server: JavaServer, java: Path) -> list[str]:
    """Return the command that formats a broker's data directory, but for the cluster's id."""
    return server.tool(java, _STORAGE_TOOL, "format")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve_kafka")
    servers = parser.add_subparsers(dest="server", required=True)
    for name in ("broker", "worker"):
        server = servers.add_parser(name)
        server.add_argument("--java", type=Path, required=True)
        server.add_argument("--tools", type=Path, required=True)
        server.add_argument("--infra", type=Path, required=True)
        if name == "broker":
            server.add_argument("--data-dir", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
