"""Assets as a report shows them: when each was last made, and whether that is recent enough."""

from collections.abc import Mapping
from datetime import datetime

import dagster as dg

from diabetes_platform.defs.alerts.freshness import evaluate_freshness, last_materialized
from diabetes_platform.report.content import AssetReport, CheckResult


def assets_of(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    checks: Mapping[dg.AssetKey, tuple[CheckResult, ...]],
    now: datetime,
) -> tuple[AssetReport, ...]:
    """Return every asset that runs make, in the order in which they follow from each other."""
    graph = defs.resolve_asset_graph()
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    ordered = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)]
    return tuple(
        _asset(specs[key], instance, checks.get(key, ()), now)
        for key in ordered
        if graph.get(key).is_materializable
    )


def _asset(
    spec: dg.AssetSpec,
    instance: dg.DagsterInstance,
    checks: tuple[CheckResult, ...],
    now: datetime,
) -> AssetReport:
    at = last_materialized(instance, spec.key)
    state, said = evaluate_freshness(spec.freshness_policy, at, now)
    return AssetReport(
        name=spec.key.to_user_string(),
        description=spec.description or "",
        made_at=at,
        freshness=state,
        freshness_said=said,
        checks=checks,
    )
