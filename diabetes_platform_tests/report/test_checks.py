"""Results of checks as a report shows them: numbers and their own words, no other text."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from diabetes_platform.orchestration.figures import counts_markdown
from diabetes_platform.report.checks import check_result
from diabetes_platform.report.content import Figure
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
    ("found", "state"),
    [
        (evaluation(), "passed"),
        (evaluation(judged=True), "passed"),
        (evaluation(judged=False), "not judged"),
        (evaluation(passed=False), "failed"),
        (evaluation(passed=False, severity=WARN), "warning"),
        (evaluation(passed=False, judged=False), "failed"),
    ],
)
def test_the_state_of_a_result(found: dg.AssetCheckEvaluation, state: str) -> None:
    assert check_result(SPEC, found, NOW, "url").state == state


def test_numbers_are_shown_and_text_that_may_hold_values_is_not() -> None:
    found = evaluation(
        rows=768, psi=0.1, changed=True, record_ids="b-2, b-3", given="glucose 4711",
        reasons=dg.MetadataValue.json(["glucose 4711"]), note="Nothing to compare.",
    )  # fmt: skip
    shown = check_result(SPEC, found, NOW, "url")
    assert dict(shown.numbers) == {
        "rows": 768, "psi": 0.1, "note": "Nothing to compare.",
    }  # fmt: skip
    assert "4711" not in str(shown)


def test_counts_of_reasons_are_shown_by_their_names_alone() -> None:
    table = counts_markdown({"age:missing": 1234, "4711 given": 2}, "reason", "records", 20)
    shown = check_result(SPEC, evaluation(reasons=table), NOW, "url")
    assert shown.numbers == (("age:missing", 1234),)


def test_pictures_are_taken_from_markdown_as_they_are() -> None:
    found = evaluation(plot=dg.MetadataValue.md(f"![a picture]({PIXEL})"))
    assert check_result(SPEC, found, NOW, "url").figures == (Figure("a picture", PIXEL),)


def test_pictures_from_elsewhere_are_not() -> None:
    found = evaluation(plot=dg.MetadataValue.md("![x](http://example.org/x.png)"))
    assert check_result(SPEC, found, NOW, "url").figures == ()


def test_a_check_that_never_ran_is_told_and_one_without_a_result_too() -> None:
    never = check_result(SPEC, None, None, "")
    assert (never.state, never.said, never.url) == ("not run", "", None)
    cut_off = check_result(SPEC, None, NOW, "url")
    assert (cut_off.state, cut_off.said) == ("not run", "The latest run ended before this check.")
