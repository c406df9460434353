"""The Debezium connector's state, for the table and the doctor."""

from diabetes_platform.clients.connect import ConnectorState, connector_state
from diabetes_platform.contract.events import CONNECTOR
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def connector_of(stack: Stack) -> ConnectorState:
    """Return the connector's and its task's state as Kafka Connect tells it."""
    return connector_state(stack.url(Port.CONNECT), CONNECTOR)
