"""The latest result of every asset check, from Dagster's event log.

A result shows numbers and the check's description. Other texts are shown only if they are listed
here, so that no patient's value can reach a report.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from diabetes_platform.report.report import CheckResult, Figure, Number, State

_PNG = re.compile(r"!\[([^\]]*)\]\((data:image/png;base64,[A-Za-z0-9+/=]+)\)")
_SAFE_TEXTS = frozenset({"note", "error", "data_docs_error", "model_version", "feature_order"})
_COUNT_TABLES = frozenset({"reasons", "differing_by_field"})
"""Tables whose row names are `field:code` or a field, and never a patient's value."""
_COUNT_ROW = re.compile(r"^\| `([a-z_.:]+)` \| ([\d,]+) \|$", re.MULTILINE)
_DOCS = "data_docs"
_JUDGED = "judged"


def latest_results(
    defs: dg.Definitions, instance: dg.DagsterInstance, dagster_url: str
) -> dict[dg.AssetKey, tuple[CheckResult, ...]]:
    """Return the results by asset, sorted by check name; includes checks that have never run."""
    graph = defs.resolve_asset_graph()
    keys = sorted(graph.asset_check_keys, key=lambda key: (key.asset_key.path, key.name))
    storage = instance.event_log_storage
    records = storage.get_latest_asset_check_execution_by_key(keys)
    results: dict[dg.AssetKey, tuple[CheckResult, ...]] = {}
    for key in keys:
        record, spec = records.get(key), graph.get_check_spec(key)
        # A check that was only planned has an event of another type.
        event = None if record is None else record.evaluation
        evaluation = event if isinstance(event, dg.AssetCheckEvaluation) else None
        run_url = "" if record is None else f"{dagster_url}/runs/{record.run_id}"
        at = None if record is None else datetime.fromtimestamp(record.create_timestamp, UTC)
        result = check_result(spec, evaluation, at, run_url)
        results[key.asset_key] = (*results.get(key.asset_key, ()), result)
    return results


def check_result(
    spec: dg.AssetCheckSpec,
    evaluation: dg.AssetCheckEvaluation | None,
    at: datetime | None,
    run_url: str,
) -> CheckResult:
    """Return the result of a check's latest evaluation, or `not run` without an evaluation."""
    claim = spec.description or ""
    if evaluation is None:
        description = "" if at is None else "The latest run ended before this check."
        return CheckResult(
            spec.name, claim, spec.blocking, "not run", description, url=run_url or None
        )
    metadata = evaluation.metadata
    docs = metadata.get(_DOCS)
    return CheckResult(
        name=spec.name,
        claim=claim,
        blocking=spec.blocking,
        state=state_of(evaluation),
        description=evaluation.description or "",
        numbers=tuple(numbers_in(metadata).items()),
        figures=figures_in(metadata),
        checked_at=at,
        url=run_url,
        docs_url=None if docs is None else str(docs.value),
    )


def state_of(evaluation: dg.AssetCheckEvaluation) -> State:
    """Return the state of an evaluation; one that passed without enough data is inconclusive."""
    if not evaluation.passed:
        severe = evaluation.severity == dg.AssetCheckSeverity.ERROR
        return "failed" if severe else "warning"
    judged = evaluation.metadata.get(_JUDGED)
    return "inconclusive" if judged is not None and judged.value is False else "passed"


def numbers_in(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Number]:
    """Return numbers, counts and safe texts by readable name."""
    numbers: dict[str, Number] = {}
    for name, entry in metadata.items():
        value = entry.value
        if isinstance(value, bool) or name == _JUDGED:
            continue
        if name in _COUNT_TABLES:
            rows = _COUNT_ROW.findall(str(value))
            numbers |= {row_name: int(count.replace(",", "")) for row_name, count in rows}
        elif isinstance(value, int | float) or (name in _SAFE_TEXTS and isinstance(value, str)):
            numbers[readable(name)] = value
    return numbers


def figures_in(metadata: Mapping[str, dg.MetadataValue[Any]]) -> tuple[Figure, ...]:
    """Return the embedded pictures of Markdown metadata."""
    texts = (entry.value for entry in metadata.values() if isinstance(entry.value, str))
    matches = (match for text in texts for match in _PNG.finditer(text))
    return tuple(Figure(match[1], match[2]) for match in matches)


def readable(name: str) -> str:
    """Return a metadata key as readable words."""
    return name.removeprefix("dagster/").replace("_", " ").replace("/", ", ")
