"""Great Expectations Data Docs: a static site with a page per validation, without scripts.

Great Expectations' own page loads scripts, styles and a logo from six hosts and shows a sample of
values. The project's page contains only its sections, below the checks with their record ids.
"""

import hashlib
import json
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult, RunIdentifier
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView

from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.quality.validation_report import ValidationReport

INDEX = "index.html"
PAGES = "validations"
MAX_VALIDATIONS = 30
TEMPLATES = Path(__file__).parent / "templates"


def linked(report: ValidationReport) -> ValidationReport:
    """Return `report` with the link to its page."""
    return replace(report, docs_link=f"{PAGES}/{_file_stem(report.run_name)}.html")


def write_docs(
    docs_dir: Path, report: ValidationReport, result: ExpectationSuiteValidationResult
) -> None:
    """Write the page of a `linked` report and the index of the newest 30; raises OSError.

    Every file is written atomically, so that readers never see a partial file.
    """
    view = DefaultJinjaPageView(custom_views_directory=str(TEMPLATES))
    page = docs_dir / str(report.docs_link)
    page.parent.mkdir(parents=True, exist_ok=True)
    _replace(page, _validation_page(view, report, result))
    _replace(page.with_suffix(".json"), json.dumps(_summary(report), indent=2))
    runs = _retain(page.parent)
    _replace(docs_dir / INDEX, view.env.get_template("index.html").render(runs=runs))


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


def _retain(pages: Path) -> list[dict[str, Any]]:
    """Delete all but the newest pages; return the summaries of those, newest first."""
    summaries = {
        path: json.loads(path.read_text(encoding="utf-8")) for path in pages.glob("*.json")
    }
    newest_first = sorted(summaries, key=lambda path: summaries[path]["validated_at"], reverse=True)
    for path in newest_first[MAX_VALIDATIONS:]:
        path.with_suffix(".html").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    return [summaries[path] for path in newest_first[:MAX_VALIDATIONS]]


def _file_stem(run_name: str) -> str:
    """Return a file name for a run name, with a hash if characters had to be replaced."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", run_name)[:100]
    if safe and safe == run_name:
        return safe
    return f"{safe}-{hashlib.sha256(run_name.encode()).hexdigest()[:8]}"


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
