"""Data Docs: a page per validation at the link that its checks carry, complete by itself."""

import re
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from obstore.exceptions import BaseError

from diabetes_platform.quality.data_docs import MAX_VALIDATIONS, linked, write_docs
from diabetes_platform.quality.validate import validate_staging
from diabetes_platform.quality.validation_report import ExpectationOutcome, ValidationReport
from diabetes_platform_tests.quality.reports import START, empty_result, report_of
from diabetes_platform_tests.quality.staged_batches import BATCH
from diabetes_platform_tests.storage import Storage


def write(docs_dir: Path, report: ValidationReport) -> str:
    write_docs(docs_dir, report, empty_result())
    return (docs_dir / str(report.docs_link)).read_text(encoding="utf-8")


def test_every_outcome_has_an_anchor_on_the_page(docs_dir: Path) -> None:
    report = report_of("run-1")
    page = write(docs_dir, report)
    for outcome in report.outcomes:
        assert f'id="{outcome.name}"' in page


def test_names_limits_and_who_accepted_a_failure(docs_dir: Path) -> None:
    accepted = ExpectationOutcome(
        "row_count_not_collapsed",
        passed=False,
        severity="warning",
        observed=97,
        allowed="at least 383",
        accepted="ada: <i>a clinic closed</i>",
    )
    page = write(docs_dir, linked(ValidationReport("run-1", START, (accepted,))))
    assert "allowed: at least 383" in page
    assert "Accepted by ada: &lt;i&gt;a clinic closed&lt;/i&gt;" in page


def test_escapes_an_error_text(docs_dir: Path) -> None:
    page = write(docs_dir, report_of("run-1"))
    assert "&lt;b&gt;gone&lt;/b&gt;" in page
    assert "<b>gone</b>" not in page


@pytest.mark.parametrize(
    "run_name", ["../../evil", "/etc/passwd", "a b", "<script>", "ü", "", ".", "x" * 500]
)
def test_any_run_name_is_a_page_below_the_docs(run_name: str, docs_dir: Path) -> None:
    report = report_of(run_name)
    write(docs_dir, report)
    assert re.fullmatch(r"validations/[A-Za-z0-9_-]+\.html", str(report.docs_link))


def test_similar_run_names_have_different_pages() -> None:
    assert report_of("a b").docs_link != report_of("a-b").docs_link


def test_the_index_lists_newest_first_with_failures(docs_dir: Path) -> None:
    write(docs_dir, report_of("first"))
    write(docs_dir, report_of("second", hours=1))
    index = (docs_dir / "index.html").read_text(encoding="utf-8")
    assert index.index("validations/second.html") < index.index("validations/first.html")
    assert "no_missing_age" in index


def test_a_repeated_validation_replaces_its_page(docs_dir: Path) -> None:
    write(docs_dir, report_of("run-1"))
    write(docs_dir, replace(report_of("run-1"), outcomes=()))
    assert len(list((docs_dir / "validations").iterdir())) == 2


def test_an_error_leaves_no_temporary_file(docs_dir: Path) -> None:
    page = docs_dir / "validations" / "run-1.html"
    page.mkdir(parents=True)
    with pytest.raises(BaseError, match="Is a directory"):
        write(docs_dir, report_of("run-1"))
    assert list(page.parent.iterdir()) == [page]


def test_keeps_the_newest_pages_only(docs_dir: Path) -> None:
    for hours in range(MAX_VALIDATIONS + 2):
        write(docs_dir, report_of(f"run-{hours}", hours))
    pages = {path.stem for path in (docs_dir / "validations").glob("*.html")}
    assert pages == {f"run-{hours}" for hours in range(2, MAX_VALIDATIONS + 2)}
    assert len(list((docs_dir / "validations").iterdir())) == 2 * MAX_VALIDATIONS


@pytest.mark.integration
def test_keeps_the_newest_pages_only_on_s3(storage: Storage) -> None:
    docs, s3 = "s3://data-docs/retention", storage.s3("pipeline")
    for hours in range(MAX_VALIDATIONS + 2):
        write_docs(docs, report_of(f"run-{hours}", hours), empty_result(), s3)
    objects = storage.client("pipeline").list_objects(
        bucket_name="data-docs", prefix="retention/validations/"
    )
    names = {Path(str(item.object_name)).name for item in objects}
    newest = range(2, MAX_VALIDATIONS + 2)
    assert names == {f"run-{n}.{ending}" for n in newest for ending in ("html", "json")}


def test_a_damaged_summary_does_not_stop_the_next_page(docs_dir: Path) -> None:
    write(docs_dir, report_of("first"))
    (docs_dir / "validations" / "first.json").write_text("{", encoding="utf-8")
    write(docs_dir, report_of("second"))
    assert "validations/second.html" in (docs_dir / "index.html").read_text(encoding="utf-8")


@pytest.mark.integration
def test_a_page_shows_checks_and_record_ids_without_scripts_or_network(
    warehouse: str, docs_dir: Path
) -> None:
    with psycopg.connect(warehouse) as connection:
        connection.execute(
            "UPDATE staging.patients SET bmi = 700 WHERE record_id = %s", (f"{BATCH}-7",)
        )
    report = validate_staging(warehouse, docs_dir, "run-1")
    assert report.docs_error is None
    page = (docs_dir / str(report.docs_link)).read_text(encoding="utf-8")
    assert f"Record ids: <code>{BATCH}-7</code>" in page
    assert "Body mass index: 10 to 100 kg/m²." in page
    assert "Great Expectations Version" in page
    for text in (page, (docs_dir / "index.html").read_text(encoding="utf-8")):
        assert "<script" not in text
        assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", text)
