"""The check of the stream's balance: every message that Flink received became something."""

import dagster as dg

from diabetes_platform.orchestration.check_results import inconclusive
from diabetes_platform.orchestration.describe import STREAM
from diabetes_platform.settings import PlatformSettings

_NO_FLINK = "PLATFORM_FLINK_URL: given nothing, so the stream's job cannot be asked."


@dg.asset_check(
    asset=STREAM,
    description="Messages received = written + duplicates + rejected + ignored, by Flink's own "
    "counters since the job was started or restored.",
)
def every_message_accounted_for(
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.AssetCheckResult:
    """Look at the running job, for half a minute at most."""
    from diabetes_platform.streaming.message_accounting import (
        CountersUnavailableError,
        account_for_messages,
    )

    if settings.flink_url is None:
        return inconclusive(_NO_FLINK)
    try:
        found = account_for_messages(settings.flink_url)
    except CountersUnavailableError as error:
        return inconclusive(f"The balance is not known: {error}.")
    counters = found.counters
    return dg.AssetCheckResult(
        passed=found.verdict != "unbalanced",
        severity=dg.AssetCheckSeverity.ERROR,
        description=found.text,
        metadata={
            "judged": found.verdict != "in flight",
            "received": counters.received,
            "written": counters.written,
            "duplicates": counters.duplicates,
            "rejected": counters.rejected,
            "ignored": counters.ignored,
            "late": counters.late,
            "unaccounted": counters.unaccounted,
            "samples": found.samples,
            "flink": dg.MetadataValue.url(settings.flink_url),
        },
    )
