"""All services of the local platform, and what the supervisor and the installer need for them."""

import importlib
import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml

from diabetes_platform.local.api.service import SERVICE as API
from diabetes_platform.local.connect.service import SERVICE as CONNECT
from diabetes_platform.local.dagster.service import SERVICE as DAGSTER
from diabetes_platform.local.environment import child_environment
from diabetes_platform.local.flink.distribution import DEVELOPMENT_ENVIRONMENT
from diabetes_platform.local.flink.service import SERVICE as FLINK
from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.home import make_private, write_private
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.kafka.service import SERVICE as KAFKA
from diabetes_platform.local.minio.service import SERVICE as MINIO
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.service import SERVICE as POSTGRES
from diabetes_platform.local.service import Component, Environment, Service
from diabetes_platform.local.spark.service import SERVICE as SPARK
from diabetes_platform.local.stack import INFRA, Stack
from diabetes_platform.local.supervised import SUPERVISED
from diabetes_platform.local.supervisor import PROGRAM as PROCESS_COMPOSE
from diabetes_platform.settings import PROJECT_ROOT, Port

SERVICES: tuple[Service, ...] = (MINIO, POSTGRES, KAFKA, CONNECT, SPARK, FLINK, DAGSTER, API)
"""In the order in which data flows through them."""
SUPERVISOR_FILE = INFRA / "local" / "process-compose.yaml"


def process_files(stack: Stack) -> list[Path]:
    """Return the files that process-compose reads."""
    return [SUPERVISOR_FILE, *(file for service in SERVICES for file in _files(service, stack))]


def process_order(stack: Stack) -> list[str]:
    """Return the names of the processes in the order of the data flow."""
    names: dict[str, None] = {}
    for service in SERVICES:
        # An overriding file lists its additional processes before those that it overrides.
        for file in reversed(_files(service, stack)):
            names |= dict.fromkeys(yaml.safe_load(file.read_text(encoding="utf-8"))["processes"])
    return list(names)


def _files(service: Service, stack: Stack) -> list[Path]:
    return [Path(__file__).parent / service.name / name for name in service.process_files(stack)]


def process_urls(stack: Stack) -> dict[str, str]:
    """Return the address of each process that listens, by the name of the process."""
    return {name: url for service in SERVICES for name, url in service.urls(stack).items()}


def components(stack: Stack) -> list[Component]:
    """Return the state of every part that runs inside a process, such as the Flink job."""
    return [component for service in SERVICES for component in service.components(stack)]


def health_checks(stack: Stack, *, has_stream: bool = True) -> list[HealthCheck]:
    """Return the checks of `diabetes doctor`: the installation first, then each service."""
    folders = ["install", *(service.name for service in SERVICES)]
    modules = [importlib.import_module(f"{__package__}.{folder}.health") for folder in folders]
    checks = [check for module in modules for check in module.CHECKS]
    return [
        check
        for check in checks
        if (stack.is_local or not check.local_only) and (has_stream or not check.of_stream)
    ]


def install_plan(*, development: bool = False) -> InstallPlan:
    """Return what the platform needs on this machine.

    `development` adds what the tests of the Flink jobs need.
    """
    plan = InstallPlan(programs=(PROCESS_COMPOSE,))
    for service in SERVICES:
        plan += service.install_plan()
    return plan + InstallPlan(environments=(DEVELOPMENT_ENVIRONMENT,)) if development else plan


def supervisor_environment(
    stack: Stack, *, java_home: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of the supervisor, which every process inherits; it has no secret."""
    layout = stack.layout
    names = {
        "TOOLS": str(layout.tools),
        "INFRA": str(INFRA),
        "CHECKOUT": str(PROJECT_ROOT),
        "ENV_DIR": str(stack.environments),
        "PYTHON": layout.program("python"),
        "PROGRAMS": str(Path(layout.program("python")).parent),
        "SERVING_PYTHON": str(layout.serving_python),
        "JAVA_HOME": java_home,
        "LISTEN_HOST": HOST,
        "PC_DISABLE_DOTENV": "1",
        SUPERVISED: str(layout.home),
    }
    for service in SERVICES:
        names |= service.variables()
    ports = {f"{port.name}_PORT": str(stack.port(port)) for port in Port}
    kept = {k: v for k, v in inherited.items() if not k.startswith(("AWS_", "PC_"))}
    return {**child_environment(stack.settings, inherited=kept), **names, **ports}


def process_environments(stack: Stack) -> dict[str, Environment]:
    """Return the private variables of the processes by the name of the file with them."""
    return {
        name: environment
        for service in SERVICES
        for name, environment in service.environments(stack).items()
    }


def write_environments(stack: Stack) -> list[Path]:
    """Write the file of each process, readable by its owner only, and return the files."""
    make_private(stack.environments)
    files = []
    for name, environment in process_environments(stack).items():
        lines = (f"{variable}={shlex.quote(value)}\n" for variable, value in environment.items())
        files.append(stack.environments / f"{name}.env")
        write_private(files[-1], "".join(lines))
    return files
