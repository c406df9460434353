"""Spark as a service of the local platform: one Connect server, or a standalone cluster."""

from collections.abc import Mapping, Sequence

from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.install.venvs import PLATFORM_LOCK, Venv
from diabetes_platform.local.minio.connection import s3_environment
from diabetes_platform.local.service import Service
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PROJECT_ROOT, Port

ENVIRONMENT = Venv("spark", PROJECT_ROOT / "infra" / "spark" / "requirements.lock", PLATFORM_LOCK)
MASTER = "spark-master"
"""The process that exists only in a cluster."""


def _process_files(stack: Stack) -> Sequence[str]:
    cluster = stack.spark == SparkMode.CLUSTER
    return ("processes.yaml", "cluster.yaml") if cluster else ("processes.yaml",)


def _urls(stack: Stack) -> Mapping[str, str]:
    return {
        MASTER: f"spark://{stack.address(Port.SPARK_MASTER)}",
        "spark-connect": stack.settings.spark_remote or "",
    }


def _install_plan() -> InstallPlan:
    return InstallPlan(jars=(read_lock()["spark"],), environments=(ENVIRONMENT,))


SERVICE = Service(
    "spark",
    process_files=_process_files,
    environments=lambda stack: {"spark-connect": s3_environment(stack, "spark")},
    urls=_urls,
    install_plan=_install_plan,
)
