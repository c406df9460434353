"""Results of checks in a report: numbers and the check's own description, no other text."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from diabetes_platform.orchestration.check_results import counts_markdown
from diabetes_platform.report.latest_check_results import check_result
from diabetes_platform.report.report import Figure
from diabetes_platform_tests.report.reports import PIXEL

KEY = dg.AssetKey(["a", "b"])
SPEC = dg.AssetCheckSpec("holds", asset=KEY, description="It holds.", blocking=True)
NOW = datetime(2026, 11, 27, tzinfo=UTC)
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


def evaluation(
    passed: bool = True, severity: dg.AssetCheckSeverity = ERROR, **metadata: object
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=KEY,
        check_name="holds",
        passed=passed,
        severity=severity,
        description="What it found.",
        metadata={
            name: dg.MetadataValue.json(v) if isinstance(v, list) else v
            for name, v in metadata.items()
        },  # type: ignore[misc]
    )


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (evaluation(), "passed"),
        (evaluation(judged=True), "passed"),
        (evaluation(judged=False), "inconclusive"),
        (evaluation(passed=False), "failed"),
        (evaluation(passed=False, severity=WARN), "warning"),
        (evaluation(passed=False, judged=False), "failed"),
    ],
)
def test_the_state_follows_from_severity_and_judged(
    result: dg.AssetCheckEvaluation, state: str
) -> None:
    assert check_result(SPEC, result, NOW, "url").state == state


def test_numbers_are_shown_and_texts_with_possible_values_are_not() -> None:
    result = evaluation(
        rows=768, psi=0.1, changed=True, record_ids="b-2, b-3", given="glucose 4711",
        reasons=dg.MetadataValue.json(["glucose 4711"]), note="Nothing to compare.",
    )  # fmt: skip
    shown = check_result(SPEC, result, NOW, "url")
    assert dict(shown.numbers) == {
        "rows": 768, "psi": 0.1, "note": "Nothing to compare.",
    }  # fmt: skip
    assert "4711" not in str(shown)


def test_counts_of_reasons_are_shown_without_unknown_names() -> None:
    table = counts_markdown({"age:missing": 1234, "4711 given": 2}, "reason", "records", 20)
    shown = check_result(SPEC, evaluation(reasons=table), NOW, "url")
    assert shown.numbers == (("age:missing", 1234),)


def test_embedded_pictures_are_shown() -> None:
    result = evaluation(plot=dg.MetadataValue.md(f"![a picture]({PIXEL})"))
    assert check_result(SPEC, result, NOW, "url").figures == (Figure("a picture", PIXEL),)


def test_linked_pictures_are_not_shown() -> None:
    result = evaluation(plot=dg.MetadataValue.md("![x](http://example.org/x.png)"))
    assert check_result(SPEC, result, NOW, "url").figures == ()


def test_a_check_without_a_run_or_without_a_result_has_not_run() -> None:
    never = check_result(SPEC, None, None, "")
    assert (never.state, never.description, never.url) == ("not run", "", None)
    cut_off = check_result(SPEC, None, NOW, "url")
    assert (cut_off.state, cut_off.description) == (
        "not run",
        "The latest run ended before this check.",
    )
