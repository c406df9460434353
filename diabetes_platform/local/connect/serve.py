"""Replaces this process by the Connect worker, so that a supervisor has it as its own child.

`python -m diabetes_platform.local.connect.serve --java JAVA --tools DIR --infra DIR`. The
configuration in `infra/connect` takes hosts, ports and passwords from the environment, which is
passed on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diabetes_platform.local.jvm import JavaServer, replace_process


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the worker; exit with one line on stderr if it cannot start."""
    options = _parser().parse_args(arguments)
    tools = options.tools.absolute()
    server = worker(tools, options.infra.absolute())
    # The worker's plugin path is relative to its working directory.
    replace_process(server, options.java.absolute(), directory=tools)


def worker(tools: Path, infra: Path) -> JavaServer:
    """Return the Connect worker, whose working directory is `tools`."""
    jars = tools / "jars" / "kafka"
    main_class = "org.apache.kafka.connect.cli.ConnectDistributed"
    return JavaServer(main_class, jars, infra / "connect", "worker.properties")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="connect.serve")
    for name in ("java", "tools", "infra"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
