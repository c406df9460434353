"""Stage latencies and metrics of the predictor."""

from prometheus_client.parser import text_string_to_metric_families

from diabetes_platform.contract.latency import TOTAL
from serving.predictor.metrics import LATENCY_STAGES, PredictorMetrics, stage_seconds
from serving.tests.predictor.sample_messages import change

START = 1_700_000_000_000


def samples(metrics: PredictorMetrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by their labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"diabetes_predictor_{name}"
    }


def latencies(**changes: int) -> dict[str, float]:
    return stage_seconds(
        change(**changes),
        consumed_ms=START + 500,
        scored_ms=START + 502,
        stored_ms=START + 510,
    )


def test_stage_latencies_add_up_to_the_total() -> None:
    seconds = latencies()
    assert list(seconds) == [stage.name for stage in LATENCY_STAGES]
    assert seconds == {
        "capture": 0.1,
        "check": 0.2,
        "merge": 0.1,
        "fetch": 0.1,
        "score": 0.002,
        "store": 0.008,
        "total": 0.51,
    }
    total = seconds.pop(TOTAL.name)
    assert abs(sum(seconds.values()) - total) < 1e-9


def test_negative_latencies_are_counted_as_skewed_and_not_observed() -> None:
    metrics = PredictorMetrics()
    metrics.observe_stages(latencies(changed_ms=START + 31_536_000_000))
    assert samples(metrics, "skewed_total") == {("capture",): 1, ("total",): 1}
    counts = samples(metrics, "hop_seconds_count")
    assert counts[("check",)] == 1
    assert counts[("total",)] == 0


def test_only_assigned_partitions_have_a_lag() -> None:
    metrics = PredictorMetrics()
    metrics.set_lags({0: 4, 1: 0})
    metrics.set_lags({1: 7})
    assert samples(metrics, "lag_messages") == {("1",): 7}


def test_only_the_current_model_is_in_use() -> None:
    metrics = PredictorMetrics()
    metrics.model_changed(None, "old")
    metrics.model_changed("old", "new")
    assert samples(metrics, "model_info") == {("old",): 0, ("new",): 1}
