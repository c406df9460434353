"""The batch graph with lake and models on S3, Spark embedded: the same graph, other settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diabetes_platform.local.environment import WAREHOUSE_URL
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.settings import PROJECT_ROOT
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.storage import Storage

RUN = """
import json
import dagster as dg
from diabetes_platform.definitions import build_definitions
from diabetes_platform.settings import PlatformSettings
settings = PlatformSettings()
job = build_definitions(lambda: settings).resolve_job_def("batch")
with dg.DagsterInstance.ephemeral() as instance:
    for _ in range(2):
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        events = {
            key: instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
            for key in ("raw/patients", "cleaned/patients", "model/champion")
        }
        values = {
            key: {n: str(v.value) for n, v in event.asset_materialization.metadata.items()}
            for key, event in events.items()
        }
        print(json.dumps({"success": result.success, **values}))
"""


@pytest.mark.integration
@pytest.mark.slow
def test_the_batch_runs_on_s3_and_unchanged_input_is_not_processed_again(
    storage: Storage, database_url: str, tmp_path: Path
) -> None:
    upgrade(database_url)
    # In a process of its own: Sail reads the environment of its process.
    variables = {
        **storage.environment("pipeline"),
        "PLATFORM_HOME": str(tmp_path),
        "PLATFORM_LAKE_URL": "s3://lake",
        "PLATFORM_MODELS_URL": "s3://models",
        WAREHOUSE_URL: database_url,
    }
    script = tmp_path / "run.py"
    script.write_text(RUN)
    output = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **variables, "RUST_LOG": "error", "MPLBACKEND": "agg"},
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    first, second = map(json.loads, output.splitlines())

    assert first["success"]
    assert first["raw/patients"]["dagster/uri"] == "s3://lake/raw/patients"
    assert first["cleaned/patients"]["accepted"] == "766"
    champion = ModelStore("s3://models", storage.s3("api")).champion()
    assert champion is not None
    assert champion.champion.model_version == first["model/champion"]["model_version"]
    assert second["success"]
    assert second["cleaned/patients"]["processed"] == "False"
    assert not (tmp_path / "lake").exists()
    assert not (tmp_path / "models").exists()
