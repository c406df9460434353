"""The code location as a whole: it loads light, and every asset says what it is."""

import subprocess
import sys

import dagster as dg
import pytest

from diabetes_platform.definitions import defs
from diabetes_platform.defs.schedules import batch, daily_batch
from diabetes_platform.quality.expectations import EXPECTATIONS

KEYS = [
    "raw/patients",
    "statistics/patients",
    "cleaned/patients",
    "quarantine/patients",
    "staging/patients",
    "serving/patients",
    "features/training_set",
    "model/candidate",
    "model/champion",
]
SPECS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
HEAVY = ["great_expectations", "lightgbm", "sklearn", "pandas", "pandera", "pyspark", "matplotlib"]


def test_the_graph_has_the_assets_of_the_batch_path() -> None:
    assert sorted(SPECS) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_asset_says_what_it_is(key: str) -> None:
    spec = SPECS[key]
    assert spec.group_name == key.partition("/")[0]
    assert spec.description
    assert spec.owners
    assert spec.kinds
    assert spec.code_version
    assert spec.freshness_policy


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("model/")])
def test_every_table_shows_its_columns(key: str) -> None:
    schema = SPECS[key].metadata["dagster/column_schema"]
    assert all(column.description for column in schema.columns)


def test_a_normed_column_is_traced_to_its_measurement() -> None:
    lineage = SPECS["cleaned/patients"].metadata["dagster/column_lineage"]
    assert lineage.deps_by_column["bmi_normed"] == [
        dg.TableColumnDep(asset_key=dg.AssetKey(["raw", "patients"]), column_name="bmi")
    ]


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
        **{spec.name: spec.severity == "error" for spec in EXPECTATIONS},
    }


def test_the_batch_job_runs_every_night() -> None:
    assert daily_batch.job_name == batch.name
    assert daily_batch.cron_schedule == "0 3 * * *"


def test_loading_reads_no_environment_and_imports_nothing_heavy() -> None:
    script = (
        "import sys, diabetes_platform.definitions;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PLATFORM_PORT_OFFSET": "not a number"},
    )
    assert found.stdout.strip() == "[]"
