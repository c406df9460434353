"""The `diabetes` command: options and exit codes. The work is in `local/commands/`.

Exit codes: 0 success; 1 a run, a check or a patient failed or was rejected; 2 wrong usage; 3 the
command cannot run (a port in use, nothing running, a damaged home); 130 interrupted.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from diabetes_platform.errors import USER_ERRORS, FailedError, PlatformError
from diabetes_platform.local.signals import restore_sigint
from diabetes_platform.local.spark.modes import SparkMode
from diabetes_platform.local.targets import RELEASE, Target
from diabetes_platform.local.timestamps import parse_timestamp
from diabetes_platform.patient_options import patient_options, read_json, rejection_reasons

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
    epilog="Exit codes: 0 success, 1 failed, 2 wrong usage, 3 cannot run, 130 interrupted.",
)
console = Console()
if not console.is_terminal:
    # rich takes 80 columns for a file, which is too narrow for the tables.
    console.width = max(console.width, 120)
errors = Console(stderr=True)


lake_app = typer.Typer(help="Find and repair damaged tables of the lake.", no_args_is_help=True)
app.add_typer(lake_app, name="lake")
secrets_app = typer.Typer(
    help="Generate the passwords for compose or Kubernetes.", no_args_is_help=True
)
app.add_typer(secrets_app, name="secrets")


def _command(
    function: Callable[..., None], group: typer.Typer = app, name: str | None = None
) -> Callable[..., None]:
    """Add a command to `group`; an expected error is shown as one line and sets the exit code."""

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the command's
        restore_sigint()
        try:
            function(*arguments, **options)
        except FailedError as error:
            _fail(str(error))
        except USER_ERRORS as error:
            _fail(str(error), CANNOT_RUN)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)

    return group.command(name)(run)


def _settings(*, sends_alerts: bool = False) -> "PlatformSettings":
    """Return the settings; PlatformError names one that is not valid.

    For a command that `sends_alerts`, the alert channels are checked, too.
    """
    from pydantic import SecretStr, ValidationError

    from diabetes_platform.clients.alert_channels import AlertUrlError, check_channels
    from diabetes_platform.settings import PlatformSettings

    try:
        settings = PlatformSettings()
        if sends_alerts:
            check_channels(settings.alert_channels)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "PLATFORM_" + "_".join(map(str, first["loc"])).upper()
        reason = first["msg"].removeprefix("Value error, ")
        secret = isinstance(first["input"], SecretStr)
        value = "is not valid" if secret else f"is {first['input']!r}"
        raise PlatformError(f"{name} {value}: {reason}") from error
    except AlertUrlError as error:
        raise PlatformError(str(error)) from error
    return settings


@_command
def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after one graph run and one prediction.")
    ] = False,
) -> None:
    """Start the platform, run the batch graph, predict, and serve until Ctrl-C."""
    started = time.perf_counter()
    from diabetes_platform.local.commands.demo import demo as run

    run(_settings(sends_alerts=True), console, once=once, started=started)


@_command
def up(
    spark: Annotated[
        SparkMode, typer.Option(help="One Spark server, or a master with two workers.")
    ] = SparkMode.SERVER,
) -> None:
    """Start the platform in the background and wait until every service is healthy."""
    started = time.perf_counter()
    from diabetes_platform.local.commands.up import up as run

    run(_settings(sends_alerts=True), console, spark=spark, started=started)


@_command
def down() -> None:
    """Stop the platform in order; its data are kept."""
    from diabetes_platform.local.commands.down import down as run

    run(_settings(), console)


@_command
def logs(
    service: Annotated[str | None, typer.Argument(help="A service that `status` shows.")] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", help="The number of last lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines.")] = False,
) -> None:
    """Show the log of one service of the platform, or of all."""
    from diabetes_platform.local.commands.logs import show_logs
    from diabetes_platform.local.stack import Stack

    show_logs(Stack(_settings()).layout, service, lines=lines, follow=follow)


@_command
def materialize(
    source: Annotated[
        str | None, typer.Option(help="Path or URL of a CSV or Parquet file of patients.")
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="Only these assets, for example 'key:\"staging/patients\"+'.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="A check whose failure does not stop this batch; may be repeated."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why --accept is right; recorded with the promotion.")
    ] = None,
) -> None:
    """Run the batch job; PostgreSQL is started for it if the platform is not running."""
    from diabetes_platform.local.commands.runs import acceptance_of
    from diabetes_platform.local.commands.runs import materialize as run

    run(
        _settings(sends_alerts=True),
        console,
        source=_absolute(source),
        select=select,
        acceptance=acceptance_of(accept or (), reason),
    )


@_command
def launch(
    job: Annotated[str, typer.Argument(help="batch, retrain, monitoring, maintenance, stream …")],
    partition: Annotated[
        str | None, typer.Option(help="A day (UTC) of a stream table to rebuild.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Run configuration of Dagster: a JSON file, - for stdin.")
    ] = None,
) -> None:
    """Launch a job in the running platform, as its UI does, and follow the run."""
    from diabetes_platform.local.commands.runs import launch as run
    from diabetes_platform.local.dagster.client import LaunchRequest

    run_config = {} if config is None else read_json("--config", config)
    run(_settings(), console, LaunchRequest(job, run_config=run_config, partition=partition))


@_command
@patient_options
def predict(**values: Any) -> None:  # noqa: ANN401 - the options come from the contract
    """Request a prediction for one patient from the running API."""
    from diabetes_platform.local.api.client import predict as ask

    document = values.pop("json")
    patient = {name: value for name, value in values.items() if value is not None}
    if document is not None and patient:
        raise typer.BadParameter("use --json or options for the patient, not both")
    if document is not None:
        patient = read_json("--json", document)
    elif reasons := rejection_reasons(patient):
        _fail(reasons)
    console.print_json(data=ask(_settings().api, patient))


@_command
def load(
    *,
    rate: Annotated[float, typer.Option(help="Events per second.")] = 20.0,
    seconds: Annotated[float, typer.Option("--for", help="Duration in seconds.")] = 60.0,
    invalid: Annotated[str, typer.Option(help="Share of invalid events.")] = "2%",
    duplicates: Annotated[str, typer.Option(help="Share of events that are sent twice.")] = "1%",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generator.")] = 1,
) -> None:
    """Send realistic patients to the running platform and show the latency of predictions."""
    from diabetes_platform.local.commands.load import load as run
    from diabetes_platform.streaming.load_profile import LoadProfile, parse_share

    try:
        profile = LoadProfile(rate, seconds, parse_share(invalid), parse_share(duplicates), seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    run(_settings(), console, profile)


@_command
def training_set(
    at: Annotated[
        str | None,
        typer.Option(help="Timestamp with time zone, 2026-11-01T00:00:00Z; default: now."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the rows to this Parquet file.", dir_okay=False)
    ] = None,
) -> None:
    """Show the training set as of a time: versions, content hash, sources of the rows."""
    from diabetes_platform.local.commands.training_set import training_set as run

    try:
        timestamp = parse_timestamp(at)
    except ValueError as error:
        raise typer.BadParameter(f"--at: {error}") from error
    run(_settings(), console, at=timestamp, output=output)


@_command
def rollback() -> None:
    """Serve the previous version of serving.patients."""
    from diabetes_platform.local.commands.rollback import rollback as run

    run(_settings(), console)


@_command
def rollback_model(
    reason: Annotated[str, typer.Option(help="Why the champion is withdrawn; recorded with it.")],
    version: Annotated[
        str | None, typer.Option("--to", help="An earlier champion; default: the previous one.")
    ] = None,
) -> None:
    """Release an earlier model and withdraw the champion; no batch releases it again."""
    from diabetes_platform.local.commands.rollback import rollback_model as run

    run(_settings(), console, version=version, reason=reason)


@_command
def repair(
    *,
    every_patient: Annotated[
        bool, typer.Option("--all", help="All patients: also repairs corrections that were lost.")
    ] = False,
) -> None:
    """Send patients without an answer through the stream again, from the intake table."""
    from diabetes_platform.local.commands.repair import repair as run

    run(_settings(), console, every_patient=every_patient)


@functools.partial(_command, group=lake_app, name="check")
def lake_check() -> None:
    """Check the Delta log of every table; exit code 1 names the damaged entries."""
    from diabetes_platform.local.commands.lake import check as run

    run(_settings(), console)


@functools.partial(_command, group=lake_app, name="repair")
def lake_repair(
    *,
    accept_loss: Annotated[
        bool, typer.Option(help="Also entries whose messages Kafka no longer has.")
    ] = False,
) -> None:
    """Set damaged entries of the stream's tables aside: their rows are read from Kafka again."""
    from diabetes_platform.local.commands.lake import repair as run

    run(_settings(), console, accept_loss=accept_loss)


@_command
def status() -> None:
    """Show the state of every service; exit code 3 if one does not run."""
    from diabetes_platform.local.commands.status import status as run

    run(_settings(), console)


@_command
def report(
    output: Annotated[
        Path, typer.Option(help="The HTML file to write; an existing file is replaced.")
    ] = Path("report.html"),
) -> None:
    """Write the latest batch, checks, model and stream to one HTML file, without patient data."""
    from diabetes_platform.local.commands.report import write_report

    write_report(_settings(), console, output)


@_command
def doctor(
    *,
    target: Annotated[
        Target, typer.Option(help="Where the platform runs; kubernetes: inside the cluster.")
    ] = Target.LOCAL,
    release: Annotated[str, typer.Option(help="The release of the chart.")] = RELEASE,
) -> None:
    """Check every service of the platform end to end, and show a remedy for each failure."""
    from diabetes_platform.local.commands.doctor import doctor as run

    run(_settings(), console, target, release)


@functools.partial(_command, group=secrets_app, name="compose")
def secrets_compose() -> None:
    """Write the variables of each container to files below PLATFORM_HOME/compose."""
    from diabetes_platform.local.commands.secrets import write_compose_secrets as run

    run(_settings(), console)


@functools.partial(_command, group=secrets_app, name="kubernetes")
def secrets_kubernetes(
    *,
    release: Annotated[str, typer.Option(help="The release of the chart.")] = RELEASE,
    storage_url: Annotated[
        str | None, typer.Option(help="An S3 endpoint outside the release.")
    ] = None,
) -> None:
    """Print the Secrets of a release, for `kubectl apply --filename -`."""
    from diabetes_platform.local.commands.secrets import kubernetes_secrets as run

    # Not through rich, which would wrap long lines.
    typer.echo(run(_settings(), release, storage_url=storage_url), nl=False)


@_command
def install(
    *,
    development: Annotated[
        bool, typer.Option("--development", help="Also what tests of the Flink jobs need.")
    ] = False,
) -> None:
    """Install the servers without starting them."""
    from diabetes_platform.local.commands.install import install as run

    run(_settings(), console, development=development)


def _fail(message: str, code: int = FAILED) -> None:
    errors.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True, highlight=False)
    raise typer.Exit(code)


def _absolute(source: str | None) -> str | None:
    """Return an absolute path: Dagster records it as the source of the batch."""
    return source if source is None or "://" in source else str(Path(source).absolute())
