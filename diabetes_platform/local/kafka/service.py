"""The Kafka broker as a service of the local platform."""

from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.service import Service
from diabetes_platform.settings import Port

SERVICE = Service(
    "kafka",
    environments=lambda _: {"kafka": {}, "topics-setup": {}},
    urls=lambda stack: {"kafka": f"{HOST}:{stack.port(Port.KAFKA)}"},
    install_plan=lambda: InstallPlan(jars=(read_lock()["kafka"],)),
)
