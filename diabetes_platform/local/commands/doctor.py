"""The command: examine, show, and say what to do."""

from rich.console import Console
from rich.markup import escape

from diabetes_platform.local.commands.doctor_checks import CHECKS
from diabetes_platform.local.errors import FailedError, LauncherError
from diabetes_platform.local.health import examine, findings_table
from diabetes_platform.local.locks import Use, holder
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PlatformSettings


def doctor(settings: PlatformSettings, console: Console) -> None:
    """Try every service of the running platform; FailedError names those that do not work."""
    stack = Stack(settings)
    now = holder(stack.home)
    if now is None or now.use != Use.STACK:
        raise LauncherError("the whole platform does not run: start it with `make up`")
    with console.status("trying every service"):
        findings = examine(stack, CHECKS)
    console.print(findings_table(findings))
    ill = [finding for finding in findings if finding.error is not None]
    for finding in ill:
        line = f"{finding.check.service}: {finding.check.remedy}"
        console.print(escape(line), soft_wrap=True, highlight=False)
    if ill:
        raise FailedError(f"not well: {', '.join(finding.check.service for finding in ill)}")
