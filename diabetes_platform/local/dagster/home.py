"""DAGSTER_HOME's `dagster.yaml` in the demo: the checkout's own without what needs services."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from diabetes_platform.settings import PROJECT_ROOT

INSTANCE = PROJECT_ROOT / "infra" / "dagster" / "dagster.yaml"
_ON_S3 = ("compute_logs",)


def without_services(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an instance's configuration without what needs S3: files take its place."""
    return {name: value for name, value in config.items() if name not in _ON_S3}


def configure_demo(dagster_home: Path) -> None:
    """Write the demo's `dagster.yaml`, with no moment at which there is none."""
    config = without_services(yaml.safe_load(INSTANCE.read_text(encoding="utf-8")))
    new = dagster_home / f"{INSTANCE.name}.{os.getpid()}"
    new.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    new.replace(dagster_home / INSTANCE.name)
