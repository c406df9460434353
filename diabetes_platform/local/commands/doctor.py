"""`diabetes doctor`: run every health check, show the results and the remedies."""

from rich.console import Console
from rich.markup import escape

from diabetes_platform.local.errors import FailedError
from diabetes_platform.local.health import results_table, run_checks
from diabetes_platform.local.services import health_checks
from diabetes_platform.local.stack import require_running_stack
from diabetes_platform.settings import PlatformSettings


def doctor(settings: PlatformSettings, console: Console) -> None:
    """Check every service of the running platform; FailedError names those that do not work."""
    stack = require_running_stack(settings)
    with console.status("checking every service"):
        results = run_checks(stack, health_checks())
    console.print(results_table(results))
    failed = [result for result in results if result.error is not None]
    for result in failed:
        line = f"{result.check.service}: {result.check.remedy}"
        console.print(escape(line), soft_wrap=True, highlight=False)
    if failed:
        raise FailedError(f"unhealthy: {', '.join(result.check.service for result in failed)}")
