"""The state of the running platform: processes, unhealthy services, waiting for a condition."""

from collections.abc import Callable

import httpx
from confluent_kafka import KafkaException

from diabetes_platform.clients.connect import connector_state
from diabetes_platform.contract.topics import CONNECTOR
from diabetes_platform.errors import USER_ERRORS
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import ProcessState, Supervisor, socket_path
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import Port


def within(seconds: float, condition: Callable[[], object]) -> None:
    """Wait until `condition` holds, for at most `seconds`; services may be down in between."""
    errors = (*USER_ERRORS, httpx.HTTPError, KafkaException)
    # Each status request costs the supervisor CPU time.
    wait_until(condition, timeout=seconds, interval=0.5, retry_on=errors)


def processes(stack: Stack) -> tuple[ProcessState, ...]:
    """Return the platform's processes as the supervisor sees them."""
    # On a busy machine the supervisor may not answer in time.
    states = wait_until(Supervisor(stack.layout).processes, timeout=30)
    return tuple(states or ())


def state_of(stack: Stack, name: str) -> ProcessState:
    """Return the state of one process."""
    return next(process for process in processes(stack) if process.name == name)


def stop_process(stack: Stack, name: str) -> None:
    """Stop one process by its supervisor, which does not start it again."""
    transport = httpx.HTTPTransport(uds=str(socket_path(stack.layout.home)))
    with httpx.Client(transport=transport, base_url="http://supervisor", timeout=30) as client:
        client.patch(f"/process/stop/{name}").raise_for_status()
    within(30, lambda: state_of(stack, name).status == "Completed")


def unhealthy_services(stack: Stack) -> list[str]:
    """Return the names of unhealthy processes, and `connector` if it does not run."""
    names = [process.name for process in processes(stack) if not process.healthy]
    state = connector_state(stack.url(Port.CONNECT), CONNECTOR)
    return names if state.running else [*names, "connector"]
