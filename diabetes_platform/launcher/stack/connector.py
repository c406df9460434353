"""The Debezium connector's state in one line, for the table."""

import httpx

from diabetes_platform.launcher.stack.stack import Stack
from diabetes_platform.settings import Port

CONNECTOR = "diabetes-cdc"


def connector_line(stack: Stack) -> str:
    """Return the connector's and its task's state as Kafka Connect tells it."""
    url = f"{stack.url(Port.CONNECT)}/connectors/{CONNECTOR}/status"
    try:
        response = httpx.get(url, timeout=5.0, trust_env=False)
    except httpx.TransportError:
        return "Kafka Connect does not answer"
    if not response.is_success:
        return f"not registered ({response.status_code})"
    told = response.json()
    tasks = ", ".join(task["state"] for task in told["tasks"]) or "none"
    return f"{told['connector']['state']}, task {tasks}"
