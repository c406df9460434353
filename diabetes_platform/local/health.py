"""Health checks of the services: their definition, running them, and the table of results."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import urlsplit

from rich.markup import escape
from rich.table import Table

from diabetes_platform.local.ports import listens
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check of a service; `run` returns a short description or raises if the service fails.

    `run` is not called if nothing listens on `port`, because clients would retry for minutes.
    `remedy` tells a person what to do after a failure.
    """

    service: str
    does: str
    run: Callable[[Stack], str]
    remedy: str
    port: Port | None = None
    local_only: bool = False
    """It checks or uses the installation on this machine."""
    of_stream: bool = False
    """It checks a part that only a platform with the stream has."""


@dataclass(frozen=True, slots=True)
class HealthResult:
    """The result of a check: a description, or `error` if the service does not work."""

    check: HealthCheck
    description: str
    error: str | None
    seconds: float


def restart_remedy(process: str) -> str:
    """Return the usual remedy: read the log of `process` and restart the platform."""
    return f"see `diabetes logs {process}`; `make down` and `make up` set it up again"


def run_checks(stack: Stack, checks: Sequence[HealthCheck]) -> list[HealthResult]:
    """Run all checks concurrently and return the results in the order of the checks."""
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        return list(pool.map(lambda check: _run(stack, check), checks))


def results_table(results: Iterable[HealthResult]) -> Table:
    """Return the table of what works and what does not."""
    table = Table(title="Doctor", title_justify="left")
    for column in ("service", "check", "result"):
        table.add_column(column, overflow="fold")
    table.add_column("seconds", justify="right")
    for result in results:
        symbol = "[green]✓[/green]" if result.error is None else "[red]✗[/red]"
        text = escape(result.description if result.error is None else result.error)
        check = result.check
        table.add_row(f"{symbol} {check.service}", check.does, text, f"{result.seconds:.1f}")
    return table


def _run(stack: Stack, check: HealthCheck) -> HealthResult:
    started = perf_counter()
    description, error = "", None
    try:
        _require_listener(stack, check.port)
        description = check.run(stack)
    except Exception as exception:  # noqa: BLE001 - any error of a service is the result
        lines = str(exception).strip().splitlines() or ["no message"]
        error = f"{type(exception).__name__}: {lines[0]}"
    return HealthResult(check, description, error, perf_counter() - started)


def _require_listener(stack: Stack, port: Port | None) -> None:
    if port is None:
        return
    # Kafka may have several addresses.
    url = urlsplit(stack.url(port).partition(",")[0])
    number = url.port or (443 if url.scheme == "https" else 80)
    if not listens(number, url.hostname or ""):
        raise ConnectionRefusedError(f"nothing listens on {url.hostname}:{number}")
