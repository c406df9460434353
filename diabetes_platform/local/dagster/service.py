"""Dagster as a service of the local platform: code server, webserver and daemon."""

from collections.abc import Mapping

from diabetes_platform.local.dagster.environment import pipeline_variables
from diabetes_platform.local.service import Service
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def _urls(stack: Stack) -> Mapping[str, str]:
    return {
        "dagster-code": stack.address(Port.DAGSTER_CODE),
        "dagster-webserver": stack.settings.dagster,
    }


SERVICE = Service(
    "dagster",
    environments=lambda stack: {"dagster": pipeline_variables(stack)},
    urls=_urls,
)
