"""Kafka Connect with the Debezium connector as a service of the local platform."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diabetes_platform.contract.events import CONNECTOR
from diabetes_platform.local.connect.state import connector_of
from diabetes_platform.local.health import HealthCheck
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
        "connector-setup": {f"ROLE_PASSWORDS__{DEBEZIUM.name.upper()}": password},
    }


def _checks() -> Sequence[HealthCheck]:
    from diabetes_platform.local.connect.health import CHECKS

    return CHECKS


def _components(stack: Stack) -> Sequence[Component]:
    state = connector_of(stack)
    return [Component("connect", f"connector {CONNECTOR}", state.running, str(state))]


SERVICE = Service(
    "connect",
    process_files=lambda _: [Path(__file__).with_name("processes.yaml")],
    environments=_environments,
    checks=_checks,
    urls=lambda stack: {"connect": stack.url(Port.CONNECT)},
    install_plan=lambda: InstallPlan(jars=(read_lock()["connect/debezium"],)),
    components=_components,
)
