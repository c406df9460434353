"""The prediction API and the stream predictor as a service of the local platform."""

from collections.abc import Mapping, Sequence

from diabetes_platform.contract.topics import PREDICTOR_GROUP
from diabetes_platform.local.api.client import assigned_partitions
from diabetes_platform.local.minio.connection import s3_environment
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.service import Component, Environment, Service
from diabetes_platform.local.stack import Stack
from diabetes_platform.provisioning.databases import WAREHOUSE_DATABASE
from diabetes_platform.settings import Port


def _environments(stack: Stack) -> Mapping[str, Environment]:
    kafka = {"PLATFORM_KAFKA_SERVERS": stack.address(Port.KAFKA)}
    return {
        "api": {
            **_environment(stack, "api"),
            "PLATFORM_DATA_DOCS_URL": stack.settings.data_docs,
        },
        "predictor": {**_environment(stack, "predictor"), **kafka},
    }


def _environment(stack: Stack, user: str) -> Environment:
    """Return the variables of a process that is `user` both in PostgreSQL and in MinIO."""
    return {
        "PLATFORM_MODELS_URL": stack.settings.models,
        "PLATFORM_DATABASE_URL": database_url(stack, user, WAREHOUSE_DATABASE),
        **s3_environment(stack, user),
    }


def _urls(stack: Stack) -> Mapping[str, str]:
    return {"api": stack.settings.api, "predictor": f"{stack.url(Port.PREDICTOR)}/metrics"}


def _components(stack: Stack) -> Sequence[Component]:
    partitions = assigned_partitions(stack.url(Port.PREDICTOR))
    state = "does not report its partitions" if partitions is None else f"{partitions} partitions"
    return [Component("predictor", f"group {PREDICTOR_GROUP}", bool(partitions), state)]


SERVICE = Service("api", environments=_environments, urls=_urls, components=_components)
