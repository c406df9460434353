"""`diabetes demo`: from nothing to a served prediction, then serving until told to stop."""

import functools
import time
from contextlib import ExitStack
from typing import Any

import dagster as dg
from rich.console import Console

from diabetes_platform.local import demo_services as services
from diabetes_platform.local.api.client import answer_of, example_patient, predict
from diabetes_platform.local.console import (
    Progress,
    answer_table,
    failure_line,
    timings_table,
    urls_table,
)
from diabetes_platform.local.dagster.batch import JOB, Follower, Outcome, run_batch
from diabetes_platform.local.dagster.supervision import supervised
from diabetes_platform.local.errors import FailedError
from diabetes_platform.local.locks import Use, exclusive
from diabetes_platform.local.platform import WAREHOUSE_DATABASE, Platform
from diabetes_platform.local.ports import HOST, require_free
from diabetes_platform.local.processes import require_alive
from diabetes_platform.local.signals import ignore_signals, stoppable
from diabetes_platform.settings import PlatformSettings, Port

READY_SECONDS = 60.0
_WATCH_SECONDS = 0.5


def demo(settings: PlatformSettings, console: Console, *, once: bool, started: float) -> None:
    """Start everything, run the batch graph, predict, and serve until SIGINT or SIGTERM.

    With `once`, stop after the prediction. `started` is what `time.perf_counter` said when the
    command began, before its imports. A batch that fails is told, and what was released before
    is served; with `once` it is the end, as a FailedError. Raises LauncherError with one line
    where anything else fails; whatever was started has been stopped when this returns or raises.
    """
    platform = Platform(settings)
    with stoppable(), exclusive(platform.layout) as lock, ExitStack() as stack:
        running: list[services.Running] = []
        try:
            with Progress(console, started) as progress:
                progress.timings.append(("command loaded", progress.elapsed))
                api = _start(platform, progress, stack, running)
                lock.tell(Use.SHARED)
                outcome = _materialize(platform, progress)
                if once and outcome.failures:
                    raise FailedError(failure_line(outcome, platform.layout.log(JOB)))
                _serve_it(platform, progress, running, api, outcome)
            _show_tables(platform, progress)
            if not once:
                console.print("Serving until Ctrl-C.")
                _serve(running)
        finally:
            ignore_signals()
            lock.tell(Use.ALONE)
            console.print("Stopping.")


def _start(
    platform: Platform, progress: Progress, stack: ExitStack, running: list[services.Running]
) -> services.Running:
    """Start PostgreSQL and the API, which is returned; `stack` stops all that is `running`."""
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
    stack.callback(services.stop_all, running)
    api = services.start(services.api(settings, layout), layout, platform.public_environment)
    running.append(api)
    # The other processes load while this one imports; two threads that import would deadlock.
    with progress.measured("migrations"):
        platform.prepare_databases()
    return api


def _materialize(platform: Platform, progress: Progress) -> Outcome:
    with ExitStack() as stack:
        with progress.measured("Dagster"):
            instance = stack.enter_context(dg.DagsterInstance.get())
        with progress.measured("code location"):
            from diabetes_platform.definitions import build_definitions

            definitions = build_definitions()
        follower = Follower(progress.step_started, progress.step_ended)
        log = platform.layout.log(JOB)
        run = functools.partial(run_batch, definitions, instance, follower, log=log)
        return supervised(platform, instance, run)


def _serve_it(
    platform: Platform,
    progress: Progress,
    running: list[services.Running],
    api: services.Running,
    outcome: Outcome,
) -> None:
    """Start Dagster's services, and predict where the batch brought a model."""
    settings, layout = platform.settings, platform.layout
    # Only now: on two cores they would take from the graph as long as they load.
    dagster = (
        services.code_server(settings, layout),
        services.webserver(settings, layout),
        services.daemon(layout),
    )
    running.extend(services.start(one, layout, platform.environment) for one in dagster)
    code, ui, _ = running[-len(dagster) :]
    if outcome.failures:
        # Ready it may never be: that takes a model of an earlier batch.
        services.wait_until_ready(api, READY_SECONDS, f"http://{HOST}:{api.service.port}/health")
    else:
        _predict(settings, progress, api)
    with progress.measured("Dagster UI ready"):
        services.wait_until_listening(code, READY_SECONDS)
        services.wait_until_ready(ui, READY_SECONDS)
    if outcome.failures:
        _tell_failure(platform, progress, outcome)


def _predict(settings: PlatformSettings, progress: Progress, api: services.Running) -> None:
    with progress.measured("API ready with the model"):
        services.wait_until_ready(api, READY_SECONDS)
    with progress.measured("prediction"):
        answer: dict[str, Any] = predict(settings.api, example_patient())
    progress.timings.append(("from start to prediction", progress.elapsed))
    progress.console.print(answer_table(answer))


def _tell_failure(platform: Platform, progress: Progress, outcome: Outcome) -> None:
    settings = platform.settings
    progress.say(failure_line(outcome, platform.layout.log(JOB)), "[red]✗[/red]")
    progress.say(f"the run: {settings.dagster}/runs/{outcome.run_id}")
    progress.say(f"its checks: {settings.api}/data-docs/")
    progress.say(f"the API: {answer_of(f'{settings.api}/ready')}")
    progress.say("what was released before stays; `diabetes materialize` tries again")


def _show_tables(platform: Platform, progress: Progress) -> None:
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
    progress.console.print(urls_table(rows))
    progress.console.print(timings_table(progress.timings, total))


def _serve(running: list[services.Running]) -> None:
    """Wait for the signal to stop; raises LauncherError where a service ends by itself."""
    try:
        while True:
            for one in running:
                require_alive(one.process, one.service.name, one.log)
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        return
