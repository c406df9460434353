"""Great Expectations Data Docs: a static site with a page per validation, without scripts.

Great Expectations' own page loads scripts, styles and a logo from six hosts and shows a sample of
values. The project's page contains only its sections, below the checks with their record ids.
"""

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import obstore
from great_expectations.core import ExpectationSuiteValidationResult, RunIdentifier
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView

from diabetes_platform.contract.s3 import DEFAULT_S3, S3
from diabetes_platform.lake.objects import open_store
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.quality.validation_report import ValidationReport

if TYPE_CHECKING:
    from obstore.store import ObjectStore

INDEX = "index.html"
PAGES = "validations"
MAX_VALIDATIONS = 30
TEMPLATES = Path(__file__).parent / "templates"


def linked(report: ValidationReport) -> ValidationReport:
    """Return `report` with the link to its page."""
    return replace(report, docs_link=f"{PAGES}/{_file_stem(report.run_name)}.html")


def write_docs(
    docs: str | Path,
    report: ValidationReport,
    result: ExpectationSuiteValidationResult,
    s3: S3 = DEFAULT_S3,
) -> None:
    """Write the page of a `linked` report and the index of the newest 30.

    `docs` is a directory or an S3 URL. Readers never see a partial file. Raises StorageError if S3
    fails, and OSError or obstore's error for a directory.
    """
    view = DefaultJinjaPageView(custom_views_directory=str(TEMPLATES))
    page = _validation_page(view, report, result)
    with s3.errors(str(docs)):
        store = open_store(str(docs), s3)
        key = str(report.docs_link)
        obstore.put(store, key, page.encode())
        summary = json.dumps(_summary(report), indent=2)
        obstore.put(store, _with_suffix(key, ".json"), summary.encode())
        index = view.env.get_template(INDEX).render(runs=_retain(store))
        obstore.put(store, INDEX, index.encode())


def _validation_page(
    view: DefaultJinjaPageView, report: ValidationReport, result: ExpectationSuiteValidationResult
) -> str:
    result.meta["run_id"] = RunIdentifier(_file_stem(report.run_name), report.validated_at)
    rendered = ValidationResultsPageRenderer(run_info_at_end=True).render(result)
    sections = _without_graphs(rendered.to_json_dict()["sections"])
    descriptions = {spec.name: spec.description for spec in EXPECTATIONS}
    template = view.env.get_template("validation.html")
    return template.render(sections=sections, report=report, descriptions=descriptions)


def _without_graphs(node: object) -> object:
    """Drop the histograms, which scripts from another host would draw."""
    if isinstance(node, dict):
        return {key: _without_graphs(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_graphs(value) for value in node if not _is_graph(value)]
    return node


def _is_graph(node: object) -> bool:
    return isinstance(node, dict) and node.get("content_block_type") == "graph"


def _summary(report: ValidationReport) -> dict[str, Any]:
    failed = [outcome for outcome in report.outcomes if not outcome.passed]
    return {
        "run_name": report.run_name,
        "validated_at": report.validated_at.isoformat(timespec="seconds"),
        "page": report.docs_link,
        "passed": report.passed,
        "failed": [outcome.name for outcome in failed if outcome.blocks],
        "warnings": [outcome.name for outcome in failed if not outcome.blocks],
    }


def _with_suffix(key: str, suffix: str) -> str:
    return str(PurePosixPath(key).with_suffix(suffix))


def _retain(store: "ObjectStore") -> list[dict[str, Any]]:
    """Delete all but the newest pages; return the summaries of those, newest first."""
    keys = [item["path"] for batch in obstore.list(store, PAGES) for item in batch]
    summaries: dict[str, dict[str, Any]] = {}
    for key in (key for key in keys if key.endswith(".json")):
        # It was deleted since, or is damaged.
        with suppress(FileNotFoundError, ValueError):
            summaries[key] = json.loads(obstore.get(store, key).bytes().to_bytes())
    newest_first = sorted(summaries, key=lambda key: summaries[key]["validated_at"], reverse=True)
    for key in newest_first[MAX_VALIDATIONS:]:
        for expired in (_with_suffix(key, ".html"), key):
            with suppress(FileNotFoundError):
                obstore.delete(store, expired)
    return [summaries[key] for key in newest_first[:MAX_VALIDATIONS]]


def _file_stem(run_name: str) -> str:
    """Return a file name for a run name, with a hash if characters had to be replaced."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", run_name)[:100]
    if safe and safe == run_name:
        return safe
    return f"{safe}-{hashlib.sha256(run_name.encode()).hexdigest()[:8]}"
