"""The code location: it loads without heavy imports, and every asset is described."""

import subprocess
import sys

import dagster as dg
import pytest

from diabetes_platform.contract.fields import FEATURE_NAMES
from diabetes_platform.contract.topics import (
    CDC_TOPIC,
    REJECTED_TOPIC,
    SINK_TOPIC,
    WINDOWED_TOPIC,
)
from diabetes_platform.definitions import build_definitions
from diabetes_platform.defs.batch.jobs import batch, batch_schedule
from diabetes_platform.orchestration.describe import GROUPS
from diabetes_platform.quality.expectations import EXPECTATIONS
from diabetes_platform.settings import PlatformSettings

KEYS = [
    "raw/patients",
    "statistics/patients",
    "cleaned/patients",
    "quarantine/patients",
    "staging/patients",
    "serving/patients",
    "features/training_set",
    "model/candidate",
    "model/shadow",
    "model/champion",
    "stream/patients",
    "labels/patients",
    "stream/rejected",
    "stream/windows",
]
MONITORING = "monitoring/live"
TOPICS = [CDC_TOPIC, SINK_TOPIC, REJECTED_TOPIC, WINDOWED_TOPIC]
defs = build_definitions()
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
POOLS = {"cleaning", "staging", "training", "stream", "stream_rejected", "stream_windows"}
HEAVY = ["great_expectations", "lightgbm", "sklearn", "pandas", "pandera", "pyspark", "matplotlib"]


def test_the_graph_has_the_assets_of_both_paths_and_the_topics() -> None:
    assert sorted(SPECS) == sorted([*KEYS, MONITORING, *(f"kafka/{topic}" for topic in TOPICS)])


@pytest.mark.parametrize("key", KEYS)
def test_every_asset_is_described(key: str) -> None:
    spec = SPECS[key]
    assert spec.group_name == GROUPS[key.partition("/")[0]]
    assert spec.description
    assert spec.owners
    assert spec.kinds
    assert spec.code_version
    # That nothing is rejected is no news.
    assert (spec.freshness_policy is None) is (key == "stream/rejected")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_an_asset_that_is_only_observed(topic: str) -> None:
    spec = SPECS[f"kafka/{topic}"]
    assert (spec.group_name, "kafka" in spec.kinds) == ("01_kafka", True)
    assert spec.description
    assert spec.owners
    assert not defs.resolve_asset_graph().get(spec.key).is_materializable


def test_groups_stand_in_the_order_of_the_data() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        for parent in graph.get(key).parent_keys:
            assert GROUPS[parent.path[0]] <= GROUPS[key.path[0]], key


def test_a_patient_of_the_stream_is_traced_to_the_intake_table() -> None:
    graph = defs.resolve_asset_graph()
    ancestors = graph.get_ancestor_asset_keys(dg.AssetKey(["stream", "patients"]))
    assert {dg.AssetKey(["kafka", SINK_TOPIC]), dg.AssetKey(["kafka", CDC_TOPIC])} <= ancestors
    lineage = SPECS["stream/patients"].metadata["dagster/column_lineage"]
    assert lineage.deps_by_column["bmi"] == [
        dg.TableColumnDep(asset_key=dg.AssetKey(["kafka", SINK_TOPIC]), column_name="bmi")
    ]


def test_a_row_of_the_training_set_is_traced_to_file_and_stream() -> None:
    graph = defs.resolve_asset_graph()
    ancestors = graph.get_ancestor_asset_keys(dg.AssetKey(["features", "training_set"]))
    names = {key.to_user_string() for key in ancestors}
    assert {"raw/patients", "labels/patients", "stream/patients"} <= names
    lineage = SPECS["cleaned/patients"].metadata["dagster/column_lineage"]
    assert {dep.asset_key.to_user_string() for dep in lineage.deps_by_column["outcome"]} == {
        "raw/patients",
        "labels/patients",
    }


def test_the_nightly_batch_leaves_the_stream_alone() -> None:
    selected = defs.resolve_job_def("batch").asset_layer.executable_asset_keys
    assert {key.to_user_string() for key in selected} == {
        key for key in KEYS if not key.startswith("stream/")
    }


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("model/")])
def test_every_table_shows_its_columns(key: str) -> None:
    schema = SPECS[key].metadata["dagster/column_schema"]
    assert all(column.description for column in schema.columns)


def test_a_normed_column_is_traced_to_its_measurement() -> None:
    lineage = SPECS["cleaned/patients"].metadata["dagster/column_lineage"]
    assert lineage.deps_by_column["bmi_normed"] == [
        dg.TableColumnDep(asset_key=dg.AssetKey([source, "patients"]), column_name="bmi")
        for source in ("labels", "raw")
    ]


def test_the_lineage_of_columns_can_be_read_on_the_page() -> None:
    table = SPECS["features/training_set"].metadata["columns_come_from"].value
    assert "| bmi | serving/patients.bmi |" in table.splitlines()


def test_each_expectation_is_a_check_and_errors_block() -> None:
    graph = defs.resolve_asset_graph()
    staging = dg.AssetKey(["staging", "patients"])
    checks = {
        key.name: graph.get_check_spec(key)
        for key in graph.asset_check_keys
        if key.asset_key == staging
    }
    assert {name: check.blocking for name, check in checks.items()} == {
        "nothing_vanished": True,
        **{spec.name: spec.may_block for spec in EXPECTATIONS},
    }


def test_the_batch_schedule_is_a_setting() -> None:
    schedules = {
        cron: build_definitions(lambda settings=settings: settings).resolve_schedule_def(
            "batch_schedule"
        )
        for cron, settings in {
            "0 3 * * *": PlatformSettings(),
            "*/5 * * * *": PlatformSettings(batch_schedule="*/5 * * * *"),
        }.items()
    }
    for cron, schedule in schedules.items():
        assert (schedule.job_name, schedule.cron_schedule) == (batch.name, cron)


def test_the_stream_is_monitored_hourly_if_there_is_a_stream() -> None:
    with_stream = PlatformSettings(kafka_servers="127.0.0.1:9092")
    for settings, status in ((PlatformSettings(), "STOPPED"), (with_stream, "RUNNING")):
        definitions = build_definitions(lambda settings=settings: settings)
        assert (
            definitions.resolve_schedule_def("monitoring_schedule").default_status.value == status
        )
    checked = {
        job: {
            key.name for key in defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys
        }
        for job in ("monitoring", "stream", "batch")
    }
    assert checked["monitoring"] == {
        *(f"no_drift_{name}" for name in FEATURE_NAMES),
        "every_message_accounted_for",
        "every_patient_has_an_answer",
        "lake_has_every_patient",
        "few_records_rejected",
        "few_events_late",
        "same_features",
        "same_predictions",
        "risks_come_true",
        "few_labels_wait",
    }
    assert not checked["monitoring"] & (checked["stream"] | checked["batch"])


def test_no_run_materializes_the_asset_of_the_monitoring_checks() -> None:
    """Its checks would be shown as not evaluated after each materialization."""
    graph = defs.resolve_asset_graph()
    checks = defs.resolve_job_def("monitoring").asset_layer.asset_graph.asset_check_keys
    assert {key.asset_key.to_user_string() for key in checks} == {MONITORING}
    node = graph.get(dg.AssetKey(MONITORING.split("/")))
    assert not node.is_materializable
    assert node.group_name == "12_monitoring"


def test_an_invalid_schedule_fails_the_code_location() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="99 3"):
        batch_schedule("99 3 * * *")


@pytest.mark.parametrize("key", KEYS)
def test_every_asset_has_a_pool(key: str) -> None:
    assets = defs.resolve_assets_def(dg.AssetKey(key.split("/")))
    assert assets.op.pool in POOLS


def test_loading_reads_no_environment_and_imports_nothing_heavy() -> None:
    script = (
        "import sys, diabetes_platform.definitions;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PLATFORM_PORT_OFFSET": "not a number"},
    )
    assert result.stdout.strip() == "[]"
