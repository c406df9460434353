"""`diabetes status`: a table of the processes of a home."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diabetes_platform.errors import PlatformError
from diabetes_platform.local.api.client import service_state
from diabetes_platform.local.console import facts_table
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.locks import home_holder
from diabetes_platform.local.postgres.data import running_server
from diabetes_platform.local.service import Component
from diabetes_platform.local.services import components, process_order, process_urls
from diabetes_platform.local.stack import Stack, running_stack
from diabetes_platform.local.supervised import memory, supervised_processes
from diabetes_platform.local.supervisor import ProcessState, Supervisor
from diabetes_platform.orchestration.links import runs_url
from diabetes_platform.settings import PlatformSettings

_MIB = 2**20


def status(settings: PlatformSettings, console: Console) -> None:
    """Show the processes; raises PlatformError that names those that do not run."""
    stack = running_stack(settings)
    if stack is not None:
        _stack_status(stack, console)
    else:
        _demo_status(settings, console)


def _stack_status(stack: Stack, console: Console) -> None:
    processes = Supervisor(stack.layout).processes()
    if processes is None:
        count = len(supervised_processes(stack.layout.home))
        raise PlatformError(
            f"the platform's supervisor does not answer and {count} of its processes run: "
            "`make up` stops them and starts all again"
        )
    parts = components(stack)
    console.print(status_table(stack, processes, parts))
    console.print(f"runs of the batch: {runs_url(stack.settings.dagster, 'batch')}", soft_wrap=True)
    unhealthy = [process.name for process in processes if not process.healthy]
    unhealthy += [part.name for part in parts if not part.running]
    if unhealthy:
        raise PlatformError(f"not healthy: {', '.join(unhealthy)}; see `diabetes doctor`")


def _demo_status(settings: PlatformSettings, console: Console) -> None:
    layout = HomeLayout.of(settings)
    server = running_server(layout.postgres)
    rows = {
        "platform": "runs" if home_holder(layout) else "does not run",
        "PostgreSQL": f"port {server.port}, pid {server.pid}" if server else "does not run",
        "API": service_state(f"{settings.api}/ready"),
        "Dagster": service_state(f"{settings.dagster}/server_info"),
    }
    console.print(facts_table(rows.items()))
    down = [name for name, state in rows.items() if state.startswith("does not")]
    if down:
        raise PlatformError(f"not running: {', '.join(down)}; start with `make demo` or `make up`")


def status_table(
    stack: Stack, processes: Sequence[ProcessState], parts: Sequence[Component]
) -> Table:
    """Return the table of processes and of the components that run inside them.

    Memory is that of a process with its children; shared pages count by their share. A one-shot
    process that has completed is left out.
    """
    table = Table(title="The platform", title_justify="left")
    for column in ("service", "URL"):
        table.add_column(column, no_wrap=True)
    table.add_column("state", overflow="fold")
    table.add_column("memory", justify="right", no_wrap=True)
    urls, order, total = process_urls(stack), process_order(stack), 0
    for process in sorted(processes, key=lambda process: order.index(process.name)):
        if process.one_shot and process.healthy:
            continue
        used = memory(process.pid) if process.running else 0
        total += used
        table.add_row(process.name, urls.get(process.name, ""), state_text(process), _size(used))
        for part in parts:
            if part.process == process.name:
                color = "green" if part.running else "red"
                table.add_row(f"  {part.name}", "", f"[{color}]{escape(part.state)}[/]", "")
    table.add_section()
    table.add_row("all", "", "", _size(total))
    return table


def state_text(process: ProcessState) -> str:
    """Return the state of a process in a few words of rich markup."""
    if process.healthy:
        restarts = f", restarted {process.restarts} times" if process.restarts else ""
        return f"[green]healthy[/green]{restarts}"
    if process.running:
        return "[yellow]starting[/yellow]"
    code = f" (code {process.exit_code})" if process.exit_code else ""
    return f"[red]{process.status.lower()}[/red]{code}"


def _size(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB" if size else ""
