"""`diabetes report`: write the state of the platform to an HTML file."""

import os
from pathlib import Path

from rich.console import Console

from diabetes_platform.contract.bundle import BundleError
from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.dagster.environment import enter_platform
from diabetes_platform.local.dagster.instance import open_instance
from diabetes_platform.report.report import Report
from diabetes_platform.settings import PlatformSettings


def write_report(settings: PlatformSettings, console: Console, output: Path) -> None:
    """Write the report, readable by its owner only; PlatformError if a store cannot be read.

    It describes the running platform, or else the demo, whose PostgreSQL is started for it.
    """
    if not output.parent.is_dir():
        raise PlatformError(f"--output {output}: the directory {output.parent} does not exist")
    with enter_platform(settings), open_instance() as instance:
        # Libraries read the platform's environment when they are imported.
        from diabetes_platform.definitions import build_definitions
        from diabetes_platform.report.collect import collect

        try:
            report = collect(PlatformSettings(), build_definitions(), instance)
        except (StorageError, BundleError) as error:
            raise PlatformError(str(error)) from error
    _write(report, output)
    counts = ", ".join(f"{count} {state}" for state, count in report.counts.items() if count)
    console.print(f"{output}: {counts or 'no checks'}", soft_wrap=True, highlight=False)


def _write(report: Report, output: Path) -> None:
    """Replace the file atomically."""
    from diabetes_platform.report.page import render

    partial = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        partial.write_text(render(report), encoding="utf-8")
        partial.chmod(0o600)
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
        raise PlatformError(f"--output {output}: cannot be written: {reason}") from error
