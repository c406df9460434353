"""The environment of the processes that load the definitions of the running platform."""

from collections.abc import Iterator
from contextlib import contextmanager

from diabetes_platform.local.demo_platform import DemoPlatform, running_demo_platform
from diabetes_platform.local.environment import (
    DAGSTER_POSTGRES_URL,
    READER_URL,
    WAREHOUSE_URL,
    child_environment,
    enter,
)
from diabetes_platform.local.minio.connection import s3_environment
from diabetes_platform.local.postgres.connection import database_url
from diabetes_platform.local.stack import Stack, running_stack
from diabetes_platform.local.supervisor import socket_path
from diabetes_platform.provisioning.databases import DAGSTER_DATABASE, WAREHOUSE_DATABASE
from diabetes_platform.settings import PlatformSettings, Port, inherited_environment


def enter_stack(stack: Stack) -> None:
    """Let this process run assets beside the platform's processes, with the same environment."""
    environment = child_environment(stack.settings, inherited=inherited_environment())
    enter({**environment, **pipeline_variables(stack)})


@contextmanager
def enter_platform(settings: PlatformSettings) -> Iterator[Stack | DemoPlatform]:
    """Yield the running platform, or else the demo, whose PostgreSQL is started for this block.

    Within the block this process has the platform's environment, so that `PlatformSettings()` are
    the settings of its processes.
    """
    stack = running_stack(settings)
    if stack is None:
        with running_demo_platform(settings) as demo:
            yield demo
    else:
        enter_stack(stack)
        yield stack


def _local_links(stack: Stack) -> dict[str, str]:
    return {
        "PLATFORM_SUPERVISOR_SOCKET": str(socket_path(stack.layout.home)),
        "PLATFORM_STORAGE_CONSOLE_URL": stack.url(Port.MINIO_CONSOLE),
    }


def pipeline_variables(stack: Stack) -> dict[str, str]:
    """Return the URLs and credentials with which assets reach the services."""
    settings = stack.settings
    configured = {WAREHOUSE_URL: settings.warehouse_url, READER_URL: settings.reader_url}
    urls = {name: url.get_secret_value() for name, url in configured.items() if url is not None}
    if WAREHOUSE_URL not in urls:
        for name, role in ((WAREHOUSE_URL, "pipeline"), (READER_URL, "reader")):
            urls.setdefault(name, database_url(stack, role, WAREHOUSE_DATABASE))
    return {
        **urls,
        DAGSTER_POSTGRES_URL: database_url(stack, "dagster", DAGSTER_DATABASE),
        "PLATFORM_LAKE_URL": settings.lake,
        "PLATFORM_MODELS_URL": settings.models,
        "PLATFORM_DATA_DOCS_URL": settings.data_docs,
        "SPARK_REMOTE": settings.spark_remote or "",
        "PLATFORM_KAFKA_SERVERS": stack.address(Port.KAFKA),
        "PLATFORM_CONNECT_URL": stack.url(Port.CONNECT),
        "PLATFORM_FLINK_URL": stack.url(Port.FLINK),
        **(_local_links(stack) if stack.is_local else {}),
        **s3_environment(stack, "pipeline"),
    }
