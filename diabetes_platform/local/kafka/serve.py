"""Replaces this process by the Kafka broker, so that a supervisor has it as its own child.

`python -m diabetes_platform.local.kafka.serve --data-dir DIR --java JAVA --tools DIR --infra DIR`.
The configuration in `infra/kafka` takes hosts and ports from the environment, which is passed on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.jvm import COULD_NOT_RUN, JavaServer, replace_process
from diabetes_platform.local.kafka.data import prepare

_STORAGE_TOOL = "kafka.tools.StorageTool"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the broker; exit with one line on stderr if it cannot start."""
    options = _parser().parse_args(arguments)
    java, tools = options.java.absolute(), options.tools.absolute()
    server = broker(tools, options.infra.absolute())
    try:
        prepare(options.data_dir.absolute(), format_command(server, java))
    except (PlatformError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    replace_process(server, java, directory=tools)


def broker(tools: Path, infra: Path) -> JavaServer:
    """Return the broker of the installation `tools`, configured by `infra`."""
    jars = tools / "jars" / "kafka"
    return JavaServer("kafka.Kafka", jars, infra / "kafka", "broker.properties")


def format_command(server: JavaServer, java: Path) -> list[str]:
    """Return the command that formats a data directory; the cluster id is still to be added."""
    return server.tool(java, _STORAGE_TOOL, "format")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kafka.serve")
    for name in ("java", "tools", "infra", "data-dir"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()
