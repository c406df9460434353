"""A server of Spark in this process's place, so that a supervisor has it as its own child.

`python -m diabetes_platform.local.spark.serve connect --java JAVA --tools DIR --infra DIR
--work DIR --port PORT [--master URL]`; `master` and `worker` make a standalone cluster for it. The
configuration in `infra/spark` takes endpoint and keys of S3 from the
environment, which stays as it is. Standard library only: a supervised server must not wait for
imports.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from diabetes_platform.local.errors import PlatformError

COULD_NOT_RUN = 3
HOST = "127.0.0.1"
_CONNECT_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_SUBMIT_CLASS = "org.apache.spark.deploy.SparkSubmit"
_MASTER_CLASS = "org.apache.spark.deploy.master.Master"
_WORKER_CLASS = "org.apache.spark.deploy.worker.Worker"
WORKER_CORES, EXECUTOR_MEMORY = 1, "640m"
"""Of each worker and of its one executor."""


@dataclass(frozen=True, slots=True)
class SparkProcess:
    """A JVM of Spark with `arguments`: the distribution and the jars in `tools`, run in `work`.

    `config` is the directory of its options, log and default settings. What is in `work` is the
    process's own and does not outlive it.
    """

    name: str
    arguments: tuple[str, ...]
    tools: Path
    config: Path
    work: Path

    @property
    def home(self) -> Path:
        """The distribution's directory; PlatformError where it is not installed."""
        venv = self.tools / "venvs" / "spark"
        found = sorted(venv.glob("lib/python*/site-packages/pyspark/bin/spark-submit"))
        if not found:
            raise PlatformError(f"{self.name}: Apache Spark is not installed in {venv}")
        return found[0].parents[1]

    @property
    def class_path(self) -> tuple[Path, ...]:
        """Every jar, in one order: Delta and S3 first, then Spark's; PlatformError without any."""
        ours = self.tools / "jars" / "spark"
        jars = sorted(ours.glob("*.jar"))
        if not jars:
            raise PlatformError(f"{self.name}: no jars in {ours}")
        return (*jars, *sorted((self.home / "jars").glob("*.jar")))

    @property
    def scala_version(self) -> str:
        """The binary version of the distribution's Scala, as 2.13; empty where it has none."""
        libraries = [jar.stem for jar in (self.home / "jars").glob("scala-library-*.jar")]
        versions = [name.removeprefix("scala-library-").split(".") for name in libraries]
        return ".".join(versions[0][:2]) if versions else ""

    @property
    def option_files(self) -> tuple[Path, ...]:
        """The JVM's options: those of every process of Spark, and its own."""
        own = self.name.removeprefix("spark-")
        return self.config / "jvm.options", self.config / f"{own}.options"

    def command(self, java: Path, options: Sequence[str] = ()) -> list[str]:
        """Return the command that runs it; `options` are further ones of the JVM."""
        return [
            str(java),
            *(f"@{file}" for file in self.option_files),
            f"-Dlog4j2.configurationFile={self.config / 'log4j2.properties'}",
            f"-Djava.io.tmpdir={self.work}",
            *options,
            "-cp",
            ":".join(map(str, self.class_path)),
            *self.arguments,
        ]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return `given` with what Spark needs to know besides."""
        return {
            **given,
            "SPARK_HOME": str(self.home),
            "SPARK_CONF_DIR": str(self.config),
            "SPARK_LOCAL_IP": HOST,
            "SPARK_LOCAL_DIRS": str(self.work),
            # A worker looks for it when it starts an executor, and finds none in a wheel.
            "SPARK_SCALA_VERSION": self.scala_version,
        }

    def prepare(self) -> None:
        """Make its directory, empty: one that was killed left its blocks there."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)


def connect_server(
    tools: Path, infra: Path, work: Path, port: int, master: str | None = None
) -> SparkProcess:
    """Return the Connect server: alone, or as an application of the cluster at `master`."""
    settings = {
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(work / "warehouse"),
    }
    if master is not None:
        jars = sorted((tools / "jars" / "spark").glob("*.jar"))
        settings |= {
            "spark.master": master,
            "spark.executor.cores": str(WORKER_CORES),
            "spark.executor.memory": EXECUTOR_MEMORY,
            "spark.executor.extraClassPath": ":".join(map(str, jars)),
        }
    arguments = [_SUBMIT_CLASS, "--class", _CONNECT_CLASS, "--name", "spark-connect"]
    for name, value in settings.items():
        arguments += ["--conf", f"{name}={value}"]
    arguments.append("spark-internal")
    return SparkProcess("spark-connect", tuple(arguments), tools, infra / "spark", work)


def master_server(tools: Path, infra: Path, work: Path, port: int) -> SparkProcess:
    """Return the master of a standalone cluster."""
    arguments = (_MASTER_CLASS, "--host", HOST, "--port", str(port), "--webui-port", "0")
    return SparkProcess("spark-master", arguments, tools, infra / "spark", work)


def worker_server(tools: Path, infra: Path, work: Path, master: str) -> SparkProcess:
    """Return a worker of the cluster at `master`; its executors have its environment."""
    offers = ("--cores", str(WORKER_CORES), "--memory", EXECUTOR_MEMORY)
    place = ("--host", HOST, "--webui-port", "0", "--work-dir", str(work / "executors"))
    arguments = (_WORKER_CLASS, *place, *offers, master)
    return SparkProcess("spark-worker", arguments, tools, infra / "spark", work)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the server; end with one line and an exit code where that cannot be."""
    given = _parser().parse_args(arguments)
    java, tools, infra = given.java.absolute(), given.tools.absolute(), given.infra.absolute()
    process = _process(given, tools, infra)
    try:
        command = process.command(java)
        environment = process.environment(os.environ)
        process.prepare()
        os.chdir(process.work)
    except (PlatformError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(COULD_NOT_RUN)
    os.execve(command[0], command, environment)  # noqa: S606 - a list, and no shell


def _process(given: argparse.Namespace, tools: Path, infra: Path) -> SparkProcess:
    work = given.work.absolute()
    if given.server == "master":
        return master_server(tools, infra, work, given.port)
    if given.server == "worker":
        return worker_server(tools, infra, work, given.master)
    return connect_server(tools, infra, work, given.port, given.master)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve_spark")
    parser.add_argument("server", choices=("connect", "master", "worker"))
    for name in ("java", "tools", "infra", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--master", help="of the cluster: spark://host:port")
    return parser


if __name__ == "__main__":
    main()
