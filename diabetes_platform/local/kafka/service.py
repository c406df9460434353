"""The Kafka broker as a service of the local platform."""

from collections.abc import Sequence
from pathlib import Path

from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.service import Service
from diabetes_platform.settings import Port


def _checks() -> Sequence[HealthCheck]:
    from diabetes_platform.local.kafka.health import CHECKS

    return CHECKS


SERVICE = Service(
    "kafka",
    process_files=lambda _: [Path(__file__).with_name("processes.yaml")],
    environments=lambda _: {"kafka": {}, "topics-setup": {}},
    checks=_checks,
    urls=lambda stack: {"kafka": f"{HOST}:{stack.port(Port.KAFKA)}"},
    install_plan=lambda: InstallPlan(jars=(read_lock()["kafka"],)),
)
