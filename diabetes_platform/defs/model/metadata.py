"""Asset metadata of a model: metrics, verdicts and plots."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from diabetes_platform.contract.bundle import Bundle
    from diabetes_platform.modelling.release_gate import GateResult
    from diabetes_platform.modelling.training import Candidate
    from diabetes_platform.modelling.training_set import TrainingSet


def verdicts_to_json(verdicts: Mapping[str, "GateResult"]) -> dict[str, Any]:
    """Return verdicts as JSON."""
    return {name: asdict(verdict) for name, verdict in verdicts.items()}


def verdicts_from_json(document: Mapping[str, Any]) -> dict[str, "GateResult"]:
    """Return the verdicts in a document of `verdicts_to_json`."""
    from diabetes_platform.modelling.release_gate import GateResult, MetricDifference

    return {
        name: GateResult(
            **{
                **stored,
                "differences": tuple(
                    MetricDifference(**difference) for difference in stored["differences"]
                ),
            }
        )
        for name, stored in document.items()
    }


def verdict_result(
    name: str, verdict: "GateResult", severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    """Return the check result of a gate rule, with its metric differences."""
    metadata: dict[str, Any] = {}
    for difference in verdict.differences:
        metadata |= {
            f"{difference.metric}/candidate": difference.candidate,
            f"{difference.metric}/rival": difference.rival,
            f"{difference.metric}/difference": difference.estimate,
            f"{difference.metric}/low": difference.low,
            f"{difference.metric}/high": difference.high,
        }
    return dg.AssetCheckResult(
        check_name=name,
        passed=verdict.passed,
        severity=severity,
        description=verdict.text,
        metadata=metadata,
    )


def metric_metadata(bundle: "Bundle") -> dict[str, Any]:
    """Return a model's metrics as a table with intervals, and as numbers that Dagster plots."""
    rows = [
        f"| {name} | {metric['value']:.3f} | {metric['low']:.3f} to {metric['high']:.3f} |"
        for name, metric in bundle.metrics.items()
    ]
    table = "\n".join(["| metric | estimate | 95 % interval |", "|---|---|---|", *rows])
    values = {name: metric["value"] for name, metric in bundle.metrics.items()}
    return {"metrics": dg.MetadataValue.md(table), **values}


def candidate_metadata(trained: "Candidate", rows: "TrainingSet") -> dict[str, Any]:
    """Return the metadata of a trained candidate, plots included."""
    from diabetes_platform.modelling.plots import plot_candidate, png_markdown

    bundle = trained.bundle
    plots = {
        f"plot/{name}": dg.MetadataValue.md(png_markdown(png, name))
        for name, png in plot_candidate(trained, rows).items()
    }
    return {**bundle_metadata(bundle), **plots}


def bundle_metadata(bundle: "Bundle") -> dict[str, Any]:
    """Return the metadata of a candidate that its bundle contains."""
    return {
        "model_version": bundle.model_version,
        "training_rows": bundle.training["rows"],
        "training_delta_version": bundle.training["delta_version"],
        "contract_fingerprint": bundle.contract_fingerprint,
        "threshold": bundle.threshold,
        "files": dg.MetadataValue.json(bundle.files),
        "libraries": dg.MetadataValue.json(bundle.libraries),
        **metric_metadata(bundle),
    }
