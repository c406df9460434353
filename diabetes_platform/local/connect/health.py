"""The health check of Kafka Connect: the connector runs."""

from diabetes_platform.contract.events import CONNECTOR
from diabetes_platform.local.connect.failures import explain
from diabetes_platform.local.connect.state import connector_of
from diabetes_platform.local.stack import Stack


def connector_runs(stack: Stack) -> str:
    """Return the connector's state; raises where it or its task does not run."""
    state = connector_of(stack)
    if not state.running:
        why = f": {explain(state.trace)}" if state.trace else ""
        raise RuntimeError(f"{CONNECTOR} is {state}{why}")
    return f"{CONNECTOR} is {state}"
