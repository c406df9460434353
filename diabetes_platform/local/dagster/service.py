"""Dagster as a service of the local platform: code server, webserver and daemon."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diabetes_platform.local.dagster.environment import pipeline_variables
from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.service import Service
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def _checks() -> Sequence[HealthCheck]:
    from diabetes_platform.local.dagster.health import CHECKS

    return CHECKS


def _urls(stack: Stack) -> Mapping[str, str]:
    return {
        "dagster-code": f"{HOST}:{stack.port(Port.DAGSTER_CODE)}",
        "dagster-webserver": stack.settings.dagster,
    }


SERVICE = Service(
    "dagster",
    process_files=lambda _: [Path(__file__).with_name("processes.yaml")],
    environments=lambda stack: {"dagster": pipeline_variables(stack)},
    checks=_checks,
    urls=_urls,
)
