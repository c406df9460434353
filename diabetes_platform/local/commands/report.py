"""The command `diabetes report`: the state of the platform in this home, written to a file."""

import os
from pathlib import Path

import dagster as dg
from rich.console import Console

from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.local.environment import enter
from diabetes_platform.local.environments import pipeline_environment
from diabetes_platform.local.errors import LauncherError
from diabetes_platform.local.locks import Use, holder
from diabetes_platform.local.platform import running_platform
from diabetes_platform.local.stack import Stack
from diabetes_platform.report.content import Report
from diabetes_platform.settings import PlatformSettings, inherited_environment


def write_report(settings: PlatformSettings, console: Console, output: Path) -> None:
    """Write the report, readable by its owner; LauncherError where there is nothing to tell.

    Of the whole platform while it runs, else of the demo, whose PostgreSQL is started for it.
    """
    if not output.parent.is_dir():
        raise LauncherError(f"--output {output}: given a directory that is not there")
    stack = Stack(settings)
    now = holder(stack.home)
    if now is not None and now.use == Use.STACK:
        # The processes' own settings: storage, stream and who may read them.
        enter(pipeline_environment(stack, inherited_environment()))
        report = _gathered()
    else:
        with running_platform(settings):
            report = _gathered()
    _write(report, output)
    counts = ", ".join(f"{count} {state}" for state, count in report.counts.items() if count)
    console.print(f"{output}: {counts or 'no checks'}", soft_wrap=True, highlight=False)


def _gathered() -> Report:
    from diabetes_platform.definitions import build_definitions
    from diabetes_platform.report.gather import gather

    with dg.DagsterInstance.get() as instance:
        try:
            return gather(PlatformSettings(), build_definitions(), instance)
        except (StorageError, BundleError) as error:
            raise LauncherError(str(error)) from error


def _write(report: Report, output: Path) -> None:
    """Replace the file in one step, so that none is ever seen half written."""
    from diabetes_platform.report.page import render

    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        part.write_text(render(report), encoding="utf-8")
        part.chmod(0o600)
        part.replace(output)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise LauncherError(f"--output {output}: cannot be written: {reason}") from error
