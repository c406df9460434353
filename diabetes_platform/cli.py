"""The `diabetes` command: a thin layer of options over the launcher and the warehouse.

Exit codes: 0 done; 1 the graph, a check or a patient was refused or failed; 2 wrong usage; 3 it
could not run (a port in use, nothing running, a damaged home); 130 interrupted.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from diabetes_platform.local.errors import USER_ERRORS
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.local.timestamps import parse_timestamp
from diabetes_platform.patient_options import read_json, takes_patient, why_refused

if TYPE_CHECKING:
    from diabetes_platform.settings import PlatformSettings

FAILED = 1
CANNOT_RUN = 3
INTERRUPTED = 130

app = typer.Typer(
    help="The diabetes platform: from raw measurements to a served prediction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    epilog="Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 cannot run, 130 interrupted.",
)
console = Console()
if not console.is_terminal:
    # A log file is wider than the 80 columns that are taken for a terminal of unknown width.
    console.width = max(console.width, 120)
errors = Console(stderr=True)


@app.command()
def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after one graph run and one prediction.")
    ] = False,
) -> None:
    """Start the platform, run the batch graph, predict, and serve until Ctrl-C."""
    started = time.perf_counter()
    from diabetes_platform.local.commands.demo import demo as run_demo

    with _told_in_one_line(sends_alerts=True) as settings:
        run_demo(settings, console, once=once, started=started)


@app.command()
def up(
    spark: Annotated[
        SparkMode, typer.Option(help="One Spark server, or a master with two workers.")
    ] = SparkMode.SERVER,
) -> None:
    """Start the whole platform in the background and wait until every service is healthy."""
    started = time.perf_counter()
    from diabetes_platform.local.commands.up import up as run

    with _told_in_one_line(sends_alerts=True) as settings:
        run(settings, console, spark=spark, started=started)


@app.command()
def down() -> None:
    """Stop the whole platform, in order; its data stay."""
    from diabetes_platform.local.commands.down import down as run

    with _told_in_one_line() as settings:
        run(settings, console)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="As `diabetes status` names it.")] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones.")] = False,
) -> None:
    """Show what a service of the whole platform printed, or all of them."""
    from diabetes_platform.local.commands.logs import show_logs
    from diabetes_platform.local.stack import Stack

    with _told_in_one_line() as settings:
        show_logs(Stack(settings).layout, service, lines=lines, follow=follow)


@app.command()
def materialize(
    source: Annotated[
        str | None, typer.Option(help="Path or URL of a CSV or Parquet file of patients.")
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Only these assets, for example 'key:\"staging/patients\"+'.")
    ] = None,
) -> None:
    """Run the batch graph; PostgreSQL is started for it where it does not run."""
    from diabetes_platform.local.commands.runs import materialize as run

    with _told_in_one_line(sends_alerts=True) as settings:
        run(settings, console, source=_absolute(source), select=select)


@app.command()
def launch(
    job: Annotated[str, typer.Argument(help="batch, retrain, monitoring, maintenance, stream …")],
    partition: Annotated[
        str | None, typer.Option(help="A day (UTC) of a stream's table, to build it again.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Dagster's run configuration: a JSON file, - for stdin.")
    ] = None,
) -> None:
    """Run a job of the running platform, as its UI would, and follow it."""
    from diabetes_platform.local.commands.runs import launch as run
    from diabetes_platform.local.dagster.submit import LaunchRequest

    with _told_in_one_line() as settings:
        given = {} if config is None else read_json("--config", config)
        run(settings, console, LaunchRequest(job, run_config=given, partition=partition))


@app.command()
@takes_patient
def predict(**given: Any) -> None:  # noqa: ANN401 - the options are the contract's
    """Ask the running API for one patient's risk."""
    from diabetes_platform.local.api.client import predict as ask

    document = given.pop("json")
    patient = {name: value for name, value in given.items() if value is not None}
    with _told_in_one_line() as settings:
        if document is not None and patient:
            raise typer.BadParameter("give the patient by --json or by options, not both")
        if document is not None:
            patient = read_json("--json", document)
        elif refused := why_refused(patient):
            _fail(refused)
        console.print_json(data=ask(settings.api, patient))


@app.command()
def load(
    *,
    rate: Annotated[float, typer.Option(help="Events a second.")] = 20.0,
    seconds: Annotated[float, typer.Option("--for", help="Seconds.")] = 60.0,
    invalid: Annotated[str, typer.Option(help="Share of broken events.")] = "2%",
    duplicates: Annotated[str, typer.Option(help="Share of events sent twice.")] = "1%",
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same patients.")] = 1,
) -> None:
    """Feed realistic patients to the running platform and show how fast they are answered."""
    from diabetes_platform.local.commands.load import load as run
    from diabetes_platform.streaming.load_profile import LoadProfile, parse_share

    try:
        profile = LoadProfile(rate, seconds, parse_share(invalid), parse_share(duplicates), seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with _told_in_one_line() as settings:
        run(settings, console, profile)


@app.command()
def training_set(
    at: Annotated[
        str | None, typer.Option(help="A time with its zone, 2026-11-01T00:00:00Z; now without.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write its rows to this Parquet file.", dir_okay=False)
    ] = None,
) -> None:
    """Show the training set as it was at a past time: versions, hash, where its rows are from."""
    from diabetes_platform.local.commands.training_set import training_set as run

    try:
        moment = parse_timestamp(at)
    except ValueError as error:
        raise typer.BadParameter(f"--at: {error}") from error
    with _told_in_one_line() as settings:
        run(settings, console, at=moment, output=output)


@app.command()
def rollback() -> None:
    """Put the previous version of serving.patients back."""
    from diabetes_platform.local.commands.rollback import rollback as run

    with _told_in_one_line() as settings:
        run(settings, console)


@app.command()
def rollback_model(
    reason: Annotated[
        str, typer.Option(help="Why the champion must not stay; kept beside it for good.")
    ],
    version: Annotated[
        str | None, typer.Option("--to", help="A champion of the past; else the one before.")
    ] = None,
) -> None:
    """Release an earlier model; the one of now is not released again by a batch."""
    from diabetes_platform.local.commands.rollback import rollback_model as run

    with _told_in_one_line() as settings:
        run(settings, console, version=version, reason=reason)


@app.command()
def status() -> None:
    """Show which services answer; exit code 3 where one does not."""
    from diabetes_platform.local.commands.status import status as run

    with _told_in_one_line() as settings:
        run(settings, console)


@app.command()
def report(
    output: Annotated[
        Path, typer.Option(help="The HTML file to write; one that is there is replaced.")
    ] = Path("report.html"),
) -> None:
    """Write the latest batch, checks, model and stream as one HTML file, without patients."""
    from diabetes_platform.local.commands.report import write_report

    with _told_in_one_line() as settings:
        write_report(settings, console, output)


@app.command()
def doctor() -> None:
    """Try every service of the whole platform end to end; say what to do where one fails."""
    from diabetes_platform.local.commands.doctor import doctor as run

    with _told_in_one_line() as settings:
        run(settings, console)


@app.command()
def install(
    *,
    development: Annotated[
        bool, typer.Option("--development", help="Also what the tests of Flink's jobs need.")
    ] = False,
) -> None:
    """Install the servers without starting them."""
    from diabetes_platform.local.commands.install import install as run

    with _told_in_one_line() as settings:
        run(settings, console, development=development)


@contextmanager
def _told_in_one_line(*, sends_alerts: bool = False) -> Iterator["PlatformSettings"]:
    """Yield the settings; turn what a person can act on into one line and an exit code.

    A command that `sends_alerts` checks the alert channels first.
    """
    from pydantic import ValidationError

    from diabetes_platform.clients.alert_channels import AlertUrlError, check_channels
    from diabetes_platform.local.errors import FailedError
    from diabetes_platform.local.signals import restore_sigint
    from diabetes_platform.settings import PlatformSettings

    restore_sigint()
    try:
        settings = PlatformSettings()
        if sends_alerts:
            check_channels(settings.alert_channels)
        yield settings
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "PLATFORM_" + "_".join(map(str, first["loc"])).upper()
        _fail(f"{name}: given {first['input']!r}: {first['msg']}", CANNOT_RUN)
    except FailedError as error:
        _fail(str(error))
    except (AlertUrlError, *USER_ERRORS) as error:
        _fail(str(error), CANNOT_RUN)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _fail(message: str, code: int = FAILED) -> None:
    errors.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True, highlight=False)
    raise typer.Exit(code)


def _absolute(source: str | None) -> str | None:
    """A path counts from where the command was given; the graph keeps it as provenance."""
    return source if source is None or "://" in source else str(Path(source).absolute())
