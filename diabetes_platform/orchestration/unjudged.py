"""What a check says where it cannot judge."""

import dagster as dg


def not_judged(said: str) -> dg.AssetCheckResult:
    """Return a warning that says why: what is not known is no pass, and blocks nothing."""
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={"judged": False},
    )


def no_champion() -> dg.AssetCheckResult:
    """Return that there is no model to ask."""
    return not_judged("No model was released yet: run the batch first.")
