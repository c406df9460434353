"""Results of asset checks that could not be evaluated, and Markdown for check metadata."""

from collections.abc import Mapping
from typing import TypeVar

import dagster as dg

T = TypeVar("T")
FEW_ROWS_REJECTED = "few_rows_rejected"
"""The check whose description begins the summary of a batch: rows, and the reasons to reject."""


def inconclusive(reason: str, check_name: str | None = None) -> dg.AssetCheckResult:
    """Return a warning with the reason: a check that was not evaluated has not passed."""
    return dg.AssetCheckResult(
        check_name=check_name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=reason,
        metadata={"judged": False},
    )


def no_champion() -> dg.AssetCheckResult:
    """Return the result of a check of the champion if no model was released yet."""
    return inconclusive("No model was released yet: run the batch first.")


def without_none(**values: T | None) -> dict[str, T]:
    """Return the values that exist, for the metadata of a check."""
    return {name: value for name, value in values.items() if value is not None}


def counts_markdown(
    counts: Mapping[str, int], name_header: str, count_header: str, limit: int
) -> dg.MarkdownMetadataValue:
    """Return the first `limit` of `counts` as a table; the last row sums up the others."""
    lines = [f"| {name_header} | {count_header} |", "|---|---:|"]
    lines += [f"| `{name}` | {count:,} |" for name, count in list(counts.items())[:limit]]
    if len(counts) > limit:
        remaining = list(counts.values())[limit:]
        lines.append(f"| and {len(remaining)} more | {sum(remaining):,} |")
    return dg.MetadataValue.md("\n".join(lines) if counts else f"No {name_header}.")


def percent(share: float) -> str:
    """Return a share, 0 to 1, in percent."""
    return f"{100 * share:.1f} %"
