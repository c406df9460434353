"""The targets on which the same servers run: this machine, compose, a Kubernetes release.

A target decides the addresses of the servers and where its generated passwords are kept.
"""

from collections.abc import Mapping
from enum import StrEnum

from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import PlatformSettings, Port


class Target(StrEnum):
    """Where the platform runs."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


RELEASE = "diabetes"
"""The default name of a release of the chart."""
SERVER_NAMES: Mapping[Port, str] = {
    Port.API: "api",
    Port.PREDICTOR: "predictor",
    Port.DAGSTER: "dagster-webserver",
    Port.DAGSTER_CODE: "dagster-code",
    Port.POSTGRES: "postgres",
    Port.MINIO: "minio",
    Port.KAFKA: "kafka",
    Port.CONNECT: "connect",
    Port.FLINK: "flink-jobmanager",
    Port.SPARK_CONNECT: "spark-connect",
}
"""The host names of the servers in compose; in Kubernetes the release name precedes them."""


def compose_stack(settings: PlatformSettings) -> Stack:
    """Return the platform of `infra/compose`, in which every server has its default port."""
    addresses = {port: f"{name}:{port.value}" for port, name in SERVER_NAMES.items()}
    return _remote(settings, "compose", addresses)


def kubernetes_stack(
    settings: PlatformSettings, release: str, *, storage_url: str | None = None
) -> Stack:
    """Return the platform of a release of the chart.

    A server that is not part of the release is named by `storage_url` (S3) or by the settings.
    """
    addresses = {port: f"{release}-{name}:{port.value}" for port, name in SERVER_NAMES.items()}
    external = {
        Port.POSTGRES: settings.postgres_server,
        Port.KAFKA: settings.kafka_servers,
        Port.MINIO: storage_url,
        Port.CONNECT: settings.connect_url,
        Port.FLINK: settings.flink_url,
        Port.SPARK_CONNECT: settings.spark_remote and settings.spark_remote.removeprefix("sc://"),
    }
    addresses |= {port: address for port, address in external.items() if address is not None}
    return _remote(settings, f"kubernetes/{release}", addresses)


def _remote(settings: PlatformSettings, directory: str, addresses: Mapping[Port, str]) -> Stack:
    home = settings.home.absolute() / directory
    base = settings.model_copy(update={"home": home, "port_offset": 0})
    return Stack(base, addresses=addresses)
