"""Kafka Connect with the Debezium connector as a service of the local platform."""

from collections.abc import Mapping, Sequence

from diabetes_platform.clients.connect import connector_state
from diabetes_platform.contract.topics import CONNECTOR
from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.service import Component, Environment, Service
from diabetes_platform.local.stack import Stack, role_secret
from diabetes_platform.settings import Port
from diabetes_platform.warehouse.roles import DEBEZIUM


def _environments(stack: Stack) -> Mapping[str, Environment]:
    password = stack.secrets[role_secret(DEBEZIUM.name)]
    return {
        "connect": {"DEBEZIUM_PASSWORD": password},
        "connector-setup": {
            "PLATFORM_CONNECT_URL": stack.url(Port.CONNECT),
            "PLATFORM_POSTGRES_SERVER": stack.address(Port.POSTGRES),
            f"ROLE_PASSWORDS__{DEBEZIUM.name.upper()}": password,
        },
    }


def _components(stack: Stack) -> Sequence[Component]:
    state = connector_state(stack.url(Port.CONNECT), CONNECTOR)
    return [Component("connect", f"connector {CONNECTOR}", state.running, str(state))]


SERVICE = Service(
    "connect",
    environments=_environments,
    urls=lambda stack: {"connect": stack.url(Port.CONNECT)},
    install_plan=lambda: InstallPlan(jars=(read_lock()["connect/debezium"],)),
    components=_components,
)
