"""Checks of the stream: message accounting, the share of rejected records and of late events."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from diabetes_platform.clients.errors import ServiceError
from diabetes_platform.defs.stream.assets import MAX_REASONS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.patient_days import incomplete_days, patient_days
from diabetes_platform.lake.rejected_patients import rejected_patients, rejected_text
from diabetes_platform.lake.stream_quality import changes_since, rejections_since, windows_since
from diabetes_platform.orchestration.check_results import (
    counts_markdown,
    inconclusive,
    no_champion,
    percent,
)
from diabetes_platform.orchestration.describe import (
    CHAMPION,
    MONITORING,
    REJECTED,
    STREAM,
    WINDOWS,
)
from diabetes_platform.orchestration.resources import Models
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings

PERIOD = timedelta(days=1)
COMPARED = timedelta(days=30)
IN_FLIGHT = timedelta(minutes=10)
"""Younger changes may still be on their way through the stream and to the lake."""
DELETION_SECONDS = 30.0
"""A deletion arrives within this time; the intake table does not record when it was made."""
MAX_WAITING = 1_000
"""Patients without an answer, and deleted ones with predictions, are counted up to this number."""
MIN_COUNT = 50
"""Among fewer records or events, a single one would be more than 2 %."""
WARN_SHARE = 0.01
"""The constraints of the intake table are as strict as the stream's rules, and every rejection
raises an alert: more than one in a hundred is a fault of the writer."""
ERROR_SHARE = 0.10
"""At one in ten, the accepted records no longer represent the patients who arrive."""


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[STREAM],
    description="Messages received = written + duplicates + rejected + ignored, by Flink's own "
    "counters since the job was started or restored.",
)
def every_message_accounted_for(
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.AssetCheckResult:
    """Sample the counters of the running job, for half a minute at most."""
    from diabetes_platform.streaming.message_accounting import account_for_messages

    if settings.flink_url is None:
        return inconclusive("PLATFORM_FLINK_URL is not set, so Flink's counters cannot be read.")
    try:
        accounting = account_for_messages(settings.flink_url)
    except ServiceError as error:
        return inconclusive(f"Flink's counters cannot be read: {error}.")
    counters = accounting.counters
    return dg.AssetCheckResult(
        passed=accounting.verdict != "unbalanced",
        severity=dg.AssetCheckSeverity.ERROR,
        description=accounting.text,
        metadata={
            "judged": accounting.verdict != "in flight",
            "received": counters.received,
            "written": counters.written,
            "duplicates": counters.duplicates,
            "rejected": counters.rejected,
            "ignored": counters.ignored,
            "late": counters.late,
            "unaccounted": counters.unaccounted,
            "samples": accounting.samples,
            "flink": dg.MetadataValue.url(settings.flink_url),
        },
    )


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[CHAMPION, REJECTED, STREAM],
    description="The newest change of every patient has a prediction or was rejected, except "
    "changes of the last ten minutes, and no deleted patient has predictions.",
)
def every_patient_has_an_answer(
    lake: dg.ResourceParam[Lake],
    models: dg.ResourceParam[Models],
    settings: dg.ResourceParam[PlatformSettings],
) -> dg.AssetCheckResult:
    """Compare the intake table with predictions and dead letters, the two ends of the stream."""
    from diabetes_platform.warehouse.intake import waiting_patients

    if settings.kafka_servers is None or settings.warehouse_url is None:
        return inconclusive("There is no stream or no warehouse.")
    if models.store().champion() is None:
        return no_champion()
    patients = waiting_patients(
        settings.warehouse_url.get_secret_value(),
        IN_FLIGHT,
        MAX_WAITING + 1,
        rejected_patients(lake),
    )
    deleted = _lost_deletions(settings.warehouse_url.get_secret_value())
    problems = [
        f"{_count(ids)} {problem}, the first one is {ids[0]}: see docs/operations.md"
        for ids, problem in (
            (patients.ids, "patients wait for a prediction of their newest change"),
            (deleted, "deleted patients still have predictions"),
        )
        if ids
    ]
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_with_rejected(
            "; ".join(problems) or "every patient has an answer", patients.rejected
        ),
        metadata={
            "waiting": len(patients.ids),
            "deleted": len(deleted),
            "rejected": patients.rejected,
        },
    )


def _lost_deletions(url: str) -> list[int]:
    """Return the deleted patients who keep their predictions for `DELETION_SECONDS`."""
    from diabetes_platform.warehouse.intake import deleted_patients

    deleted = set(deleted_patients(url, MAX_WAITING + 1))

    def arrived() -> bool:
        deleted.intersection_update(deleted and deleted_patients(url, MAX_WAITING + 1))
        return not deleted

    with suppress(TimeoutError):
        wait_until(arrived, timeout=DELETION_SECONDS, interval=1.0)
    return sorted(deleted)


def _count(ids: Sequence[int]) -> str:
    return f"more than {MAX_WAITING:,}" if len(ids) > MAX_WAITING else f"{len(ids):,}"


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[REJECTED, STREAM],
    description="The lake has every patient and the newest change of each day that the intake "
    "table has and that was not rejected, for patients of the last 30 days and changes older than "
    "ten minutes.",
)
def lake_has_every_patient(
    lake: dg.ResourceParam[Lake], settings: dg.ResourceParam[PlatformSettings]
) -> dg.AssetCheckResult:
    """Compare the lake with the intake table, independently of Kafka's and Flink's counters."""
    from diabetes_platform.warehouse.intake import intake_days

    if settings.kafka_servers is None or settings.warehouse_url is None:
        return inconclusive("There is no stream or no warehouse to compare the lake with.")
    # The same times for both, although the second read is later than the first.
    until = datetime.now(UTC) - IN_FLIGHT
    since = (until - COMPARED).replace(hour=0, minute=0, second=0, microsecond=0)
    rejections = rejected_patients(lake)
    intake = intake_days(settings.warehouse_url.get_secret_value(), since, until, rejections)
    in_lake = patient_days(lake, since, until, rejections)
    problems = incomplete_days(intake, in_lake)
    expected, rejected = sum(day.patients for day in intake), sum(day.rejected for day in intake)
    summary = f"the lake has the {expected:,} patients of {len(intake)} days"
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_with_rejected("; ".join(problems[:MAX_REASONS]) or summary, rejected),
        metadata={
            "patients_in_intake": expected,
            "rejected": rejected,
            "patients_in_lake": sum(day.patients for day in in_lake.values()),
            "incomplete_days": len(problems),
        },
    )


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[REJECTED, STREAM],
    description=f"At most {WARN_SHARE:.0%} of the records of the last 24 hours were rejected; "
    f"above {ERROR_SHARE:.0%} it is an error.",
)
def few_records_rejected(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Compare the number of dead letters with the number of accepted changes."""
    since = datetime.now(UTC) - PERIOD
    rejections, accepted = rejections_since(lake, since), changes_since(lake, since)
    total = rejections.records + accepted
    return _evaluate_share(
        f"{rejections.records} of {total} records were rejected",
        rejections.records,
        total,
        {
            "dead_letters": rejections.letters,
            "rejected_records": rejections.records,
            "let_through": accepted,
            "reasons": counts_markdown(rejections.reasons, "reason", "records", MAX_REASONS),
        },
    )


@dg.asset_check(
    asset=MONITORING,
    additional_deps=[WINDOWS],
    description=f"At most {WARN_SHARE:.0%} of the events of the last 24 hours arrived after their "
    f"window had closed; above {ERROR_SHARE:.0%} it is an error.",
)
def few_events_late(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Compare the number of late events, which are in no mean, with the number of all events."""
    sums = windows_since(lake, datetime.now(UTC) - PERIOD)
    return _evaluate_share(
        f"{sums.late} of {sums.events} events were late",
        sums.late,
        sums.events,
        {
            "windows": sums.windows,
            "events": sums.events,
            "late_events": sums.late,
            "rejected_messages": sums.rejected,
        },
    )


def _with_rejected(summary: str, rejected: int) -> str:
    return f"{summary}; {rejected_text(rejected)}" if rejected else summary


def _evaluate_share(
    summary: str, bad_records: int, total: int, metadata: dict[str, Any]
) -> dg.AssetCheckResult:
    """Return the result for a share of bad records; it passes as inconclusive if there are few."""
    share = bad_records / total if total else 0.0
    conclusive = total >= MIN_COUNT
    reason = (
        f"{percent(share)}, allowed {percent(WARN_SHARE)}"
        if conclusive
        else f"too few to evaluate a share, required {MIN_COUNT}"
    )
    severe = share > ERROR_SHARE
    return dg.AssetCheckResult(
        passed=not conclusive or share <= WARN_SHARE,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=f"{summary} in the last 24 hours: {reason}.",
        metadata={
            **metadata,
            "share": share,
            "share_allowed": WARN_SHARE,
            "share_of_error": ERROR_SHARE,
            "judged": conclusive,
        },
    )
