"""The state of the Debezium connector, for the status table and the health check."""

from diabetes_platform.clients.connect import ConnectorState, connector_state
from diabetes_platform.contract.events import CONNECTOR
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def connector_of(stack: Stack) -> ConnectorState:
    """Return the state of the connector and its task from Kafka Connect."""
    return connector_state(stack.url(Port.CONNECT), CONNECTOR)
