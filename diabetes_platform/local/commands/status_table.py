"""The table of a running platform: service, URL, state, memory."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from diabetes_platform.clients.connect import ConnectorState
from diabetes_platform.contract.events import CONNECTOR, STREAM_JOB
from diabetes_platform.local.flink.job_state import StreamJobState
from diabetes_platform.local.members import memory
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.stack import Stack
from diabetes_platform.local.supervisor import ProcessState
from diabetes_platform.settings import Port

_MIB = 2**20


def service_urls(stack: Stack) -> dict[str, str]:
    """Return where each process that listens is reached."""
    return {
        "minio": stack.url(Port.MINIO_CONSOLE),
        "postgres": f"postgresql://{HOST}:{stack.port(Port.POSTGRES)}/diabetes",
        "kafka": f"{HOST}:{stack.port(Port.KAFKA)}",
        "connect": stack.url(Port.CONNECT),
        "spark-master": f"spark://{HOST}:{stack.port(Port.SPARK_MASTER)}",
        "spark-connect": stack.settings.spark_remote or "",
        "flink-jobmanager": stack.url(Port.FLINK),
        "dagster-code": f"{HOST}:{stack.port(Port.DAGSTER_CODE)}",
        "dagster-webserver": stack.settings.dagster,
        "api": stack.settings.api,
        "predictor": f"{stack.url(Port.PREDICTOR)}/metrics",
    }


def status_table(
    stack: Stack,
    processes: Sequence[ProcessState],
    connector: ConnectorState,
    job: StreamJobState,
) -> Table:
    """Return the table; memory counts a process with its children, shared pages by their share.

    One-shots are left out where they have done their work. `connector` is Debezium's state,
    `job` that of the stream's job.
    """
    table = Table(title="The platform", title_justify="left")
    for column in ("service", "URL"):
        table.add_column(column, no_wrap=True)
    table.add_column("state", overflow="fold")
    table.add_column("memory", justify="right", no_wrap=True)
    urls, total = service_urls(stack), 0
    for process in sorted(processes, key=lambda one: stack.order.index(one.name)):
        if process.one_shot and process.healthy:
            continue
        used = memory(process.pid) if process.running else 0
        total += used
        table.add_row(process.name, urls.get(process.name, ""), state(process), _size(used))
        if process.name == "connect":
            table.add_row(f"  connector {CONNECTOR}", "", _part(connector), "")
        if process.name == "stream-job":
            table.add_row(f"  job {STREAM_JOB}", "", _part(job), "")
    table.add_section()
    table.add_row("all", "", "", _size(total))
    return table


def state(process: ProcessState) -> str:
    """Return a process's state in a few words."""
    if process.healthy:
        again = f", restarted {process.restarts} times" if process.restarts else ""
        return f"[green]healthy[/green]{again}"
    if process.running:
        return "[yellow]starting[/yellow]"
    code = f" (code {process.exit_code})" if process.exit_code else ""
    return f"[red]{process.status.lower()}[/red]{code}"


def _part(part: ConnectorState | StreamJobState) -> str:
    return f"[{'green' if part.running else 'red'}]{escape(str(part))}[/]"


def _size(used: int) -> str:
    return f"{used / _MIB:,.0f} MiB" if used else ""
