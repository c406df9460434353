"""Checks of the stream's quality: the share of rejected records, and of late events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from diabetes_platform.defs.stream.assets import MAX_REASONS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.stream_quality import (
    changes_since,
    rejections_since,
    windows_since,
)
from diabetes_platform.orchestration.check_results import counts_markdown, percent
from diabetes_platform.orchestration.describe import REJECTED, STREAM, WINDOWS

RECENT = timedelta(days=1)
ENOUGH = 50
"""Below so many records or events one of them is 2 % and more: nothing is said of the share."""
WARN_SHARE = 0.01
"""One in a hundred: the table's own rules let nothing through that the stream would reject, and
each one has raised an alert of its own; more than a few are a fault of what writes them."""
ERROR_SHARE = 0.10
"""One in ten: what is let through no longer stands for the patients who come."""


@dg.asset_check(
    asset=REJECTED,
    additional_deps=[STREAM],
    description=f"Of the records of the last 24 hours at most {WARN_SHARE:.0%} were rejected; "
    f"above {ERROR_SHARE:.0%} it is an error.",
)
def few_records_rejected(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Compare the dead letters with what the stream let through."""
    since = datetime.now(UTC) - RECENT
    found, let_through = rejections_since(lake, since), changes_since(lake, since)
    return _judged(
        f"{found.records} of {found.records + let_through} records were rejected",
        found.records,
        found.records + let_through,
        {
            "dead_letters": found.letters,
            "rejected_records": found.records,
            "let_through": let_through,
            "reasons": counts_markdown(found.reasons, "reason", "records", MAX_REASONS),
        },
    )


@dg.asset_check(
    asset=WINDOWS,
    description=f"Of the events of the last 24 hours at most {WARN_SHARE:.0%} came after their "
    f"window had closed; above {ERROR_SHARE:.0%} it is an error.",
)
def few_events_late(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Sum the windows: late events are in no mean of theirs."""
    found = windows_since(lake, datetime.now(UTC) - RECENT)
    return _judged(
        f"{found.late} of {found.events} events were late",
        found.late,
        found.events,
        {
            "windows": found.windows,
            "events": found.events,
            "late_events": found.late,
            "rejected_messages": found.rejected,
        },
    )


def _judged(told: str, bad: int, total: int, metadata: dict[str, Any]) -> dg.AssetCheckResult:
    """Return the verdict on a share."""
    share = bad / total if total else 0.0
    severe = share > ERROR_SHARE
    enough = total >= ENOUGH
    said = (
        f"{told} in the last 24 hours: {percent(share)}, allowed {percent(WARN_SHARE)}."
        if enough
        else f"{told} in the last 24 hours: too few to judge a share, needed {ENOUGH}."
    )
    return dg.AssetCheckResult(
        passed=not enough or share <= WARN_SHARE,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={
            **metadata,
            "share": share,
            "share_allowed": WARN_SHARE,
            "share_of_error": ERROR_SHARE,
            "judged": enough,
        },
    )
