"""The Kafka broker as a service of the local platform."""

from collections.abc import Mapping

from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.service import Environment, Service
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def _environments(stack: Stack) -> Mapping[str, Environment]:
    return {"kafka": {}, "topics-setup": {"PLATFORM_KAFKA_SERVERS": stack.address(Port.KAFKA)}}


SERVICE = Service(
    "kafka",
    environments=_environments,
    urls=lambda stack: {"kafka": stack.address(Port.KAFKA)},
    install_plan=lambda: InstallPlan(jars=(read_lock()["kafka"],)),
)
