"""What the short commands do: one run of the graph, a rollback, a look at what runs."""

import dagster as dg
import httpx
from rich.console import Console
from rich.table import Table

from diabetes_platform.launcher import spark_server
from diabetes_platform.launcher.batch import JOB, Follower, run_batch
from diabetes_platform.launcher.errors import FailedError, LauncherError
from diabetes_platform.launcher.layout import Layout
from diabetes_platform.launcher.platform import is_running, running_platform
from diabetes_platform.launcher.postgres import running_server
from diabetes_platform.launcher.progress import Progress, failure_line, rollback_line
from diabetes_platform.settings import PlatformSettings, inherited_environment


def materialize(
    settings: PlatformSettings, console: Console, *, source: str | None, select: str | None
) -> None:
    """Run the batch graph and show its steps; raises FailedError that says what failed."""
    from diabetes_platform.definitions import build_definitions

    log = Layout.of(settings).log(JOB)
    with running_platform(settings), Progress(console) as progress:
        follower = Follower(progress.step_started, progress.step_ended)
        with dg.DagsterInstance.get() as instance:
            definitions = build_definitions()
            outcome = run_batch(
                definitions, instance, follower, log=log, source=source, select=select
            )
        if outcome.failures:
            raise FailedError(failure_line(outcome, log))
        progress.say(f"run {outcome.run_id} succeeded ({progress.elapsed:.1f} s)")


def rollback(settings: PlatformSettings, console: Console) -> None:
    """Put the previous version of serving.patients back; FailedError where there is none."""
    from diabetes_platform.warehouse.promotion import PromotionRefusedError
    from diabetes_platform.warehouse.promotion import rollback as roll_back

    with running_platform(settings) as platform:
        try:
            promotion = roll_back(platform.warehouse_url)
        except PromotionRefusedError as error:
            raise FailedError(str(error)) from error
    console.print(rollback_line(promotion.version, promotion.batch_id, promotion.rows))


def status(settings: PlatformSettings, console: Console) -> None:
    """Show what answers; raises LauncherError that names what does not."""
    layout = Layout.of(settings)
    server = running_server(layout.postgres)
    rows = {
        "platform": "runs" if is_running(layout) else "does not run",
        "PostgreSQL": f"port {server.port}, pid {server.pid}" if server else "does not run",
        "API": answer_of(f"{settings.api}/ready"),
        "Dagster": answer_of(f"{settings.dagster}/server_info"),
    }
    table = Table(show_header=False)
    for name, state in rows.items():
        table.add_row(name, state)
    console.print(table)
    down = [name for name, state in rows.items() if state.startswith("does not")]
    if down:
        raise LauncherError(f"not running: {', '.join(down)}; start with `make demo`")


def install_spark(settings: PlatformSettings, console: Console) -> None:
    """Install Apache Spark's server below home; raises LauncherError that says what is missing."""
    home = Layout.of(settings).home
    with Progress(console) as progress, progress.measured("Apache Spark installed"):
        spark_server.install_spark(home, inherited_environment())


def answer_of(url: str) -> str:
    """Return what a service answers, in a few words."""
    try:
        response = httpx.get(url, timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return f"does not answer at {url}"
    if not response.is_success:
        return f"does not serve yet: {response.status_code} at {url}"
    version = response.json().get("model_version")
    return f"model {version} at {url}" if version else f"answers at {url}"
