"""What a check of the doctor is and says; running all of them at once."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from rich.markup import escape
from rich.table import Table

from diabetes_platform.local.ports import listens
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


@dataclass(frozen=True, slots=True)
class Check:
    """`try_it` returns in a few words what it saw working and raises where it does not work.

    Without a listener on `port` it is not called: clients would try again for minutes.
    """

    service: str
    does: str
    try_it: Callable[[Stack], str]
    remedy: str
    port: Port | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check; `error` is None where the service works."""

    check: Check
    seen: str
    error: str | None
    seconds: float


def examine(stack: Stack, checks: Sequence[Check]) -> list[Finding]:
    """Try every check, several at a time, and return the findings in the order of the checks."""
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        return list(pool.map(lambda check: _try(stack, check), checks))


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return the table of what works and what does not."""
    table = Table(title="Doctor", title_justify="left")
    for column in ("service", "does", "found"):
        table.add_column(column, overflow="fold")
    table.add_column("seconds", justify="right")
    for finding in findings:
        mark = "[green]✓[/green]" if finding.error is None else "[red]✗[/red]"
        found = escape(finding.seen if finding.error is None else finding.error)
        check = finding.check
        table.add_row(f"{mark} {check.service}", check.does, found, f"{finding.seconds:.1f}")
    return table


def _try(stack: Stack, check: Check) -> Finding:
    started = perf_counter()
    seen, error = "", None
    try:
        _require_listener(stack, check.port)
        seen = check.try_it(stack)
    except Exception as caught:  # noqa: BLE001 - whatever is wrong with a service is the finding
        lines = str(caught).strip().splitlines() or ["it does not say why"]
        error = f"{type(caught).__name__}: {lines[0]}"
    return Finding(check, seen, error, perf_counter() - started)


def _require_listener(stack: Stack, port: Port | None) -> None:
    if port is not None and not listens(stack.port(port)):
        raise ConnectionRefusedError(f"nobody listens on port {stack.port(port)}")
