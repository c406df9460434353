"""Tables of numbers as Markdown, as metadata shows them."""

from collections.abc import Mapping

import dagster as dg


def counts_markdown(
    counts: Mapping[str, int], what: str, counted: str, most: int
) -> dg.MarkdownMetadataValue:
    """Return the first `most` of `counts` as a table, and how many more there are."""
    lines = [f"| {what} | {counted} |", "|---|---:|"]
    lines += [f"| `{name}` | {count:,} |" for name, count in list(counts.items())[:most]]
    if len(counts) > most:
        lines.append(f"| and {len(counts) - most} more | {sum(list(counts.values())[most:]):,} |")
    return dg.MetadataValue.md("\n".join(lines) if counts else f"No {what}.")


def percent(share: float) -> str:
    """Return a share, 0 to 1, as a person reads it."""
    return f"{100 * share:.1f} %"
