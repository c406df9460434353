"""`diabetes demo`: start PostgreSQL, the API and Dagster, run a batch, and serve predictions."""

import time
from contextlib import ExitStack

import dagster as dg
from rich.console import Console

from diabetes_platform.errors import FailedError
from diabetes_platform.local.api.client import example_patient, predict, service_state
from diabetes_platform.local.api.server import api_server
from diabetes_platform.local.child_server import (
    RunningServer,
    start,
    stop_all,
    wait_until_ready,
)
from diabetes_platform.local.console import (
    Progress,
    facts_table,
    failure_line,
    prediction_table,
    success_lines,
    timings_table,
)
from diabetes_platform.local.dagster.batch import JOB, Follower, RunOutcome, run_exclusively
from diabetes_platform.local.dagster.server import code_server, daemon, webserver
from diabetes_platform.local.demo_platform import DemoPlatform
from diabetes_platform.local.locks import HomeUse, lock_home
from diabetes_platform.local.ports import HOST, require_free
from diabetes_platform.local.processes import require_alive
from diabetes_platform.local.signals import ignore_signals, stoppable
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE
from diabetes_platform.settings import PlatformSettings, Port

READY_SECONDS = 60.0
_WATCH_SECONDS = 0.5


def demo(settings: PlatformSettings, console: Console, *, once: bool, started: float) -> None:
    """Start the servers, run the batch job, predict, and serve until SIGINT or SIGTERM.

    With `once`, stop after the prediction. `started` is the value of `time.perf_counter` when the
    command began, before its imports. If the batch fails, the previous release is served; with
    `once`, FailedError is raised instead. Any other failure raises PlatformError. All servers are
    stopped when this returns or raises.
    """
    platform = DemoPlatform(settings)
    with stoppable(), lock_home(platform.layout) as lock, ExitStack() as stack:
        running: list[RunningServer] = []
        try:
            with Progress(console, started) as progress:
                progress.timings.append(("command loaded", progress.elapsed))
                api = _start_databases_and_api(platform, progress, stack, running)
                lock.announce(HomeUse.SHARED)
                outcome = _run_batch(platform, progress)
                if once and outcome.failures:
                    raise FailedError(failure_line(outcome, platform.layout.log(JOB)))
                for line in [] if outcome.failures else success_lines(outcome, progress.elapsed):
                    progress.say(line)
                _start_dagster_and_predict(platform, progress, running, api, outcome)
            _show_tables(platform, progress)
            if not once:
                console.print("Serving until Ctrl-C.")
                _serve(running)
        finally:
            ignore_signals()
            lock.announce(HomeUse.ALONE)
            console.print("Stopping.")


def _start_databases_and_api(
    platform: DemoPlatform, progress: Progress, stack: ExitStack, running: list[RunningServer]
) -> RunningServer:
    """Start PostgreSQL and the API, and return the API.

    Closing `stack` stops PostgreSQL and all `running` servers.
    """
    settings, layout = platform.settings, platform.layout
    if layout.setup_seconds.exists():
        seconds = float(layout.setup_seconds.read_text(encoding="ascii"))
        layout.setup_seconds.unlink()
        progress.timings.insert(0, ("set-up", seconds))
    for port in (Port.API, Port.DAGSTER, Port.DAGSTER_CODE):
        require_free(settings.port(port), "the demo")
    platform.enter()
    with progress.measured("PostgreSQL"):
        stack.enter_context(platform.postgres)
    stack.callback(stop_all, running)
    api = start(api_server(settings, layout), layout, platform.public_environment)
    running.append(api)
    # The API's process imports in the meantime; a second importing thread here would deadlock.
    with progress.measured("migrations"):
        platform.prepare_databases()
    return api


def _run_batch(platform: DemoPlatform, progress: Progress) -> RunOutcome:
    with ExitStack() as stack:
        with progress.measured("Dagster"):
            instance = stack.enter_context(dg.DagsterInstance.get())
        with progress.measured("code location"):
            from diabetes_platform.definitions import build_definitions

            definitions = build_definitions()
        follower = Follower(progress.step_started, progress.step_ended)
        return run_exclusively(platform, instance, definitions, follower)


def _start_dagster_and_predict(
    platform: DemoPlatform,
    progress: Progress,
    running: list[RunningServer],
    api: RunningServer,
    outcome: RunOutcome,
) -> None:
    """Start Dagster's processes, and predict if the batch succeeded."""
    settings, layout = platform.settings, platform.layout
    # After the batch: on two cores their imports would slow it down.
    servers = (code_server(settings, layout), webserver(settings, layout), daemon(layout))
    code, ui, _ = dagster = [start(server, layout, platform.environment) for server in servers]
    running.extend(dagster)
    has_model = ModelStore(settings.models, settings.s3).champion() is not None
    if outcome.failures or not has_model:
        # The API is only ready with a model, which an earlier batch may have released or not.
        wait_until_ready(api, READY_SECONDS, f"http://{HOST}:{api.server.port}/health")
    else:
        _predict(settings, progress, api)
    with progress.measured("Dagster UI ready"):
        wait_until_ready(code, READY_SECONDS)
        wait_until_ready(ui, READY_SECONDS)
    if outcome.failures:
        _report_failure(platform, progress, outcome)


def _predict(settings: PlatformSettings, progress: Progress, api: RunningServer) -> None:
    with progress.measured("API ready with the model"):
        wait_until_ready(api, READY_SECONDS)
    with progress.measured("prediction"):
        prediction = predict(settings.api, example_patient())
    progress.timings.append(("from start to prediction", progress.elapsed))
    progress.console.print(prediction_table(prediction))


def _report_failure(platform: DemoPlatform, progress: Progress, outcome: RunOutcome) -> None:
    settings = platform.settings
    progress.say(failure_line(outcome, platform.layout.log(JOB)), "[red]✗[/red]")
    progress.say(f"the run: {settings.dagster}/runs/{outcome.run_id}")
    progress.say(f"its checks: {settings.api}/data-docs/")
    progress.say(f"the API: {service_state(f'{settings.api}/ready')}")
    progress.say("the previous release stays; `diabetes materialize` runs the batch again")


def _show_tables(platform: DemoPlatform, progress: Progress) -> None:
    settings = platform.settings
    port = settings.port(Port.POSTGRES)
    rows = [
        ("page", settings.api),
        ("API documentation", f"{settings.api}/docs"),
        ("prediction", f"POST {settings.api}/predict"),
        ("Dagster", settings.dagster),
        ("Data Docs", f"{settings.api}/data-docs/"),
        ("PostgreSQL", f"postgresql://postgres@{HOST}:{port}/{WAREHOUSE_DATABASE}"),
        ("its password", str(platform.layout.secrets)),
        ("logs", str(platform.layout.log("*"))),
    ]
    total = progress.elapsed + dict(progress.timings).get("set-up", 0.0)
    progress.console.print(facts_table(rows, "The platform is up", ("what", "where")))
    progress.console.print(timings_table(progress.timings, total))


def _serve(running: list[RunningServer]) -> None:
    """Wait for a signal; raises PlatformError if a server ends by itself."""
    try:
        while True:
            for child in running:
                require_alive(child.process, child.server.name, child.log)
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        return
