"""A sample report with every kind of content, and its parts."""

from datetime import UTC, datetime

from diabetes_platform.report.report import (
    AssetReport,
    BatchReport,
    CheckResult,
    Figure,
    ModelReport,
    ReleaseDecision,
    Report,
    State,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def check(name: str, state: State, description: str = "") -> CheckResult:
    return CheckResult(
        name,
        f"The claim of {name}.",
        blocking=state == "failed",
        state=state,
        description=description,
        numbers=(("rows", 1234), ("psi", 0.01234)),
        figures=(Figure("a picture", PIXEL),),
        checked_at=None if state == "not run" else NOW,
        url="http://127.0.0.1:3000/runs/1",
    )


def asset(name: str, *checks: CheckResult, freshness: State | None = "passed") -> AssetReport:
    return AssetReport(name, f"What {name} is.", NOW, freshness, "3 h old, allowed 26 h", checks)


def report(*assets: AssetReport, issues: tuple[tuple[str, str], ...] = ()) -> Report:
    return Report(
        created_at=NOW,
        batch=BatchReport(
            "0123456789ab", "s3://raw/<b>.csv", NOW, 768, 766, 2,
            (("bmi:outlier", 1), ("skin_thickness:outlier", 1)), "0123456789ab", 766,
        ),
        assets=assets,
        model=ModelReport(
            "f82e3e51a6ce", 0.31, ("glucose", "age"), 766, 0.349,
            {"auc": {"value": 0.84, "low": 0.81, "high": 0.87}}, (Figure("roc", PIXEL),),
        ),
        history=(ReleaseDecision(NOW, "f82e3e51a6ce", True, "better", 0.84, 0.15),),
        stream_issues=issues,
        links=(("Dagster", "http://127.0.0.1:3000"),),
    )  # fmt: skip
