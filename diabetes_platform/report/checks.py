"""The latest result of every asset check, from Dagster's event log.

Numbers are shown, and what a check says of itself; of other text only what is listed here, so that
no value of a patient can come into a report.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from diabetes_platform.report.content import CheckResult, Figure, Number, State

_PNG = re.compile(r"!\[([^\]]*)\]\((data:image/png;base64,[A-Za-z0-9+/=]+)\)")
_SHOWN_TEXT = frozenset({"note", "error", "data_docs_error", "model_version", "feature_order"})
_COUNTS = frozenset({"reasons", "differing_by_field"})
"""Tables of counts, by names that the platform gives: `field:code`, or a field."""
_COUNTED = re.compile(r"^\| `([a-z_.:]+)` \| ([\d,]+) \|$", re.MULTILINE)
_DOCS = "data_docs"
_JUDGED = "judged"


def latest_results(
    defs: dg.Definitions, instance: dg.DagsterInstance, dagster_url: str
) -> dict[dg.AssetKey, tuple[CheckResult, ...]]:
    """Return the results by asset, in the order of the checks' names; one never run is one too."""
    graph = defs.resolve_asset_graph()
    keys = sorted(graph.asset_check_keys, key=lambda key: (key.asset_key.path, key.name))
    storage = instance.event_log_storage
    records = storage.get_latest_asset_check_execution_by_key(keys)
    found: dict[dg.AssetKey, tuple[CheckResult, ...]] = {}
    for key in keys:
        record, spec = records.get(key), graph.get_check_spec(key)
        # One that was only planned has an event of another kind.
        given = None if record is None else record.evaluation
        evaluation = given if isinstance(given, dg.AssetCheckEvaluation) else None
        run_url = "" if record is None else f"{dagster_url}/runs/{record.run_id}"
        at = None if record is None else datetime.fromtimestamp(record.create_timestamp, UTC)
        result = check_result(spec, evaluation, at, run_url)
        found[key.asset_key] = (*found.get(key.asset_key, ()), result)
    return found


def check_result(
    spec: dg.AssetCheckSpec,
    evaluation: dg.AssetCheckEvaluation | None,
    at: datetime | None,
    run_url: str,
) -> CheckResult:
    """Return what a check claims and what its latest evaluation found; None: it has none."""
    claim = spec.description or ""
    if evaluation is None:
        said = "" if at is None else "The latest run ended before this check."
        return CheckResult(spec.name, claim, spec.blocking, "not run", said, url=run_url or None)
    metadata = evaluation.metadata
    docs = metadata.get(_DOCS)
    return CheckResult(
        name=spec.name,
        claim=claim,
        blocking=spec.blocking,
        state=state_of(evaluation),
        said=evaluation.description or "",
        numbers=tuple(numbers_in(metadata).items()),
        figures=figures_in(metadata),
        checked_at=at,
        url=run_url,
        docs_url=None if docs is None else str(docs.value),
    )


def state_of(evaluation: dg.AssetCheckEvaluation) -> State:
    """Return the state: a check that passed because there was too little says so."""
    if not evaluation.passed:
        severe = evaluation.severity == dg.AssetCheckSeverity.ERROR
        return "failed" if severe else "warning"
    judged = evaluation.metadata.get(_JUDGED)
    return "not judged" if judged is not None and judged.value is False else "passed"


def numbers_in(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Number]:
    """Return the numbers by a readable name, counts by theirs, and the text that may be shown."""
    found: dict[str, Number] = {}
    for name, entry in metadata.items():
        value = entry.value
        if isinstance(value, bool) or name == _JUDGED:
            continue
        if name in _COUNTS:
            counted = _COUNTED.findall(str(value))
            found |= {what: int(count.replace(",", "")) for what, count in counted}
        elif isinstance(value, int | float) or (name in _SHOWN_TEXT and isinstance(value, str)):
            found[readable(name)] = value
    return found


def figures_in(metadata: Mapping[str, dg.MetadataValue[Any]]) -> tuple[Figure, ...]:
    """Return the pictures that metadata shows as Markdown."""
    texts = (entry.value for entry in metadata.values())
    found = (match for text in texts if isinstance(text, str) for match in _PNG.finditer(text))
    return tuple(Figure(match[1], match[2]) for match in found)


def readable(name: str) -> str:
    """Return a metadata key as a person reads it."""
    return name.removeprefix("dagster/").replace("_", " ").replace("/", ", ")
