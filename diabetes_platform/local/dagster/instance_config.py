"""Dagster's instance configuration: the platform's file, and the demo's version without S3."""

import os
from pathlib import Path

import yaml

from diabetes_platform.settings import PROJECT_ROOT

INSTANCE_FILE = PROJECT_ROOT / "infra" / "dagster" / "instance.yaml"
INSTANCE_NAME = "dagster.yaml"
"""The name under which Dagster reads it in DAGSTER_HOME."""


def write_demo_config(dagster_home: Path) -> None:
    """Write the `dagster.yaml` of the demo atomically: without S3, Dagster uses local files."""
    config = yaml.safe_load(INSTANCE_FILE.read_text(encoding="utf-8"))
    del config["compute_logs"]
    temporary = dagster_home / f"{INSTANCE_NAME}.{os.getpid()}"
    temporary.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    temporary.replace(dagster_home / INSTANCE_NAME)
