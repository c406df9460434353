"""Replaces this process by a Spark server, so that a supervisor has it as its own child.

`python -m diabetes_platform.local.spark.serve connect --java JAVA --tools DIR --infra DIR
--work DIR --port PORT [--listen ADDRESS] [--master URL]`; `master` and `worker` make a standalone
cluster. The configuration in `infra/spark` takes the S3 endpoint and keys from the environment,
which is passed on. Standard library only, because a supervised server must start quickly.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from diabetes_platform.errors import COULD_NOT_RUN, PlatformError

HOST = "127.0.0.1"
_CONNECT_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_SUBMIT_CLASS = "org.apache.spark.deploy.SparkSubmit"
_MASTER_CLASS = "org.apache.spark.deploy.master.Master"
_WORKER_CLASS = "org.apache.spark.deploy.worker.Worker"
WORKER_CORES, EXECUTOR_MEMORY = "1", "640m"
"""The resources of a worker and of its single executor."""


@dataclass(frozen=True, slots=True)
class SparkProcess:
    """A JVM of Spark with `arguments`, from the distribution and the jars in `tools`.

    `config` is the directory of JVM options, logging and default settings. `work` is the scratch
    directory of the process.
    """

    name: str
    arguments: Sequence[str]
    tools: Path
    config: Path
    work: Path

    @property
    def home(self) -> Path:
        """The directory of the distribution; raises PlatformError if it is not installed."""
        venv = self.tools / "venvs" / "spark"
        scripts = sorted(venv.glob("lib/python*/site-packages/pyspark/bin/spark-submit"))
        if not scripts:
            raise PlatformError(f"{self.name}: Apache Spark is not installed in {venv}")
        return scripts[0].parents[1]

    def command(self, java: Path, options: Sequence[str] = ()) -> list[str]:
        """Return the command of the process; `options` are additional options of the JVM.

        Raises PlatformError if Spark or its jars are not installed.
        """
        jars = self.tools / "jars" / "spark"
        if not any(jars.glob("*.jar")):
            raise PlatformError(f"{self.name}: no jars in {jars}")
        role = self.name.removeprefix("spark-")
        return [
            str(java),
            f"@{self.config / 'jvm.options'}",
            f"@{self.config / f'{role}.options'}",
            f"-Dlog4j2.configurationFile={self.config / 'log4j2.properties'}",
            f"-Djava.io.tmpdir={self.work}",
            *options,
            "-cp",
            # Delta and S3 first. Only Spark's own jars contain a class twice: their order is fixed.
            ":".join([f"{jars}/*", *map(str, sorted(self.home.glob("jars/*.jar")))]),
            *self.arguments,
        ]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return `inherited` with the variables of Spark."""
        scala = [jar.stem.split("-")[-1] for jar in self.home.glob("jars/scala-library-*.jar")]
        return {
            **inherited,
            "SPARK_HOME": str(self.home),
            "SPARK_CONF_DIR": str(self.config),
            "SPARK_LOCAL_IP": HOST,
            "SPARK_LOCAL_DIRS": str(self.work),
            # A worker cannot detect it in a wheel when it starts an executor.
            "SPARK_SCALA_VERSION": scala[0].rpartition(".")[0] if scala else "",
        }

    def prepare(self) -> None:
        """Create an empty scratch directory: a killed process may have left blocks in it."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)


def connect_server(
    tools: Path,
    infra: Path,
    work: Path,
    port: int,
    master: str | None = None,
    *,
    listen: str = HOST,
) -> SparkProcess:
    """Return the Connect server: local, or as an application of the cluster at `master`.

    `listen` is the address at which clients reach it.
    """
    settings = {
        "spark.connect.grpc.binding.address": listen,
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(work / "warehouse"),
    }
    if master is not None:
        settings |= {
            "spark.master": master,
            "spark.executor.cores": WORKER_CORES,
            "spark.executor.memory": EXECUTOR_MEMORY,
            "spark.executor.extraClassPath": f"{tools / 'jars' / 'spark'}/*",
        }
    arguments = [_SUBMIT_CLASS, "--class", _CONNECT_CLASS, "--name", "spark-connect"]
    for name, value in settings.items():
        arguments += ["--conf", f"{name}={value}"]
    return SparkProcess(
        "spark-connect", [*arguments, "spark-internal"], tools, infra / "spark", work
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server; exit with one line on stderr if it cannot start."""
    options = _parser().parse_args(arguments)
    process = _process(options)
    try:
        command = process.command(options.java.absolute())
        environment = process.environment(os.environ)
        process.prepare()
        os.chdir(process.work)
    except (PlatformError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    os.execve(command[0], command, environment)  # noqa: S606 - a list, and no shell


def _process(options: argparse.Namespace) -> SparkProcess:
    tools, infra, work = (path.absolute() for path in (options.tools, options.infra, options.work))
    if options.server == "connect":
        return connect_server(
            tools, infra, work, options.port, options.master, listen=options.listen
        )
    location = ["--host", HOST, "--webui-port", "0"]
    if options.server == "master":
        arguments = [_MASTER_CLASS, *location, "--port", str(options.port)]
    else:
        # Its executors inherit its environment.
        offers = ["--cores", WORKER_CORES, "--memory", EXECUTOR_MEMORY]
        scratch = ["--work-dir", str(work / "executors")]
        arguments = [_WORKER_CLASS, *location, *scratch, *offers, options.master]
    return SparkProcess(f"spark-{options.server}", arguments, tools, infra / "spark", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spark.serve")
    parser.add_argument("server", choices=("connect", "master", "worker"))
    for name in ("java", "tools", "infra", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--listen", default=HOST, help="address of the Connect server")
    parser.add_argument("--master", help="URL of the cluster: spark://host:port")
    return parser


if __name__ == "__main__":
    main()
