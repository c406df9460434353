"""Hops add up, and clocks that disagree are no measurement."""

from prometheus_client.parser import text_string_to_metric_families

from diabetes_platform.contract.latency import TOTAL
from serving.predictor.metrics import LATENCY_STAGES, PredictorMetrics, stage_seconds
from serving.tests.predictor.messages import change

START = 1_700_000_000_000


def samples(metrics: PredictorMetrics, name: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    found = [one for family in families for one in family.samples]
    return {
        tuple(one.labels.values()): one.value
        for one in found
        if one.name == f"diabetes_predictor_{name}"
    }


def took(**changed: int) -> dict[str, float]:
    return stage_seconds(
        change(**changed),
        consumed_ms=START + 500,
        scored_ms=START + 502,
        stored_ms=START + 510,
    )


def test_the_hops_of_a_change_add_up_to_its_whole_way() -> None:
    seconds = took()
    assert list(seconds) == [hop.name for hop in LATENCY_STAGES]
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


def test_a_clock_a_year_ahead_is_counted_apart() -> None:
    metrics = PredictorMetrics()
    metrics.observe_stages(took(changed_ms=START + 31_536_000_000))
    assert samples(metrics, "skewed_total") == {("capture",): 1, ("total",): 1}
    counts = samples(metrics, "hop_seconds_count")
    assert counts[("check",)] == 1
    assert counts[("total",)] == 0


def test_only_the_partitions_at_hand_have_a_lag() -> None:
    metrics = PredictorMetrics()
    metrics.set_lags({0: 4, 1: 0})
    metrics.set_lags({1: 7})
    assert samples(metrics, "lag_messages") == {("1",): 7}


def test_one_model_is_in_use() -> None:
    metrics = PredictorMetrics()
    metrics.model_changed(None, "old")
    metrics.model_changed("old", "new")
    assert samples(metrics, "model_info") == {("old",): 0, ("new",): 1}
