"""`diabetes status` of the whole platform."""

from rich.console import Console

from diabetes_platform.contract.events import STREAM_JOB
from diabetes_platform.local.commands.status_table import status_table
from diabetes_platform.local.connect.state import connector_of
from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.members import members
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import Supervisor


def stack_status(stack: Stack, console: Console) -> None:
    """Show every process, the connector and the stream's job.

    Raises LauncherError that names what is not well.
    """
    processes = Supervisor(stack.layout).processes()
    if processes is None:
        left = len(members(stack.layout.home))
        raise LauncherError(
            f"the platform's supervisor does not answer and {left} of its processes run: "
            "stop them with `make down`, then start again"
        )
    connector = connector_of(stack)
    job = stream_job_of(stack)
    console.print(status_table(stack, processes, connector, job))
    ill = [process.name for process in processes if not process.healthy]
    if not connector.running:
        ill.append("connector diabetes-cdc")
    if not job.running:
        ill.append(f"job {STREAM_JOB}")
    if ill:
        raise LauncherError(f"not healthy: {', '.join(ill)}; see `diabetes doctor`")
