"""Dagster's instance configuration: the platform's file, and the demo's version without S3."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from diabetes_platform.settings import PROJECT_ROOT

INSTANCE_FILE = PROJECT_ROOT / "infra" / "dagster" / "instance.yaml"
INSTANCE_NAME = "dagster.yaml"
"""The name under which Dagster reads it in DAGSTER_HOME."""
_ON_S3 = ("compute_logs",)


def demo_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration without the parts on S3; Dagster then uses local files."""
    return {name: value for name, value in config.items() if name not in _ON_S3}


def write_demo_config(dagster_home: Path) -> None:
    """Write the `dagster.yaml` of the demo atomically."""
    config = demo_config(yaml.safe_load(INSTANCE_FILE.read_text(encoding="utf-8")))
    temporary = dagster_home / f"{INSTANCE_NAME}.{os.getpid()}"
    temporary.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    temporary.replace(dagster_home / INSTANCE_NAME)
