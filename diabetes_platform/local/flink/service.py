"""Flink with the stream job as a service of the local platform."""

from collections.abc import Mapping, Sequence

from diabetes_platform.contract.topics import STREAM_JOB
from diabetes_platform.local.flink import distribution
from diabetes_platform.local.flink.job_state import stream_job_of
from diabetes_platform.local.install.jars import read_lock
from diabetes_platform.local.install.plan import InstallPlan, InstallStep
from diabetes_platform.local.minio.connection import s3_environment
from diabetes_platform.local.service import Component, Environment, Service
from diabetes_platform.local.stack import Stack
from diabetes_platform.settings import Port


def _environments(stack: Stack) -> Mapping[str, Environment]:
    storage = s3_environment(stack, "flink")
    servers = {
        "PLATFORM_FLINK_URL": stack.url(Port.FLINK),
        "PLATFORM_KAFKA_SERVERS": stack.address(Port.KAFKA),
    }
    return {
        "flink-jobmanager": storage,
        "flink-taskmanager": storage,
        "stream-job": {**servers, **storage},
    }


def _components(stack: Stack) -> Sequence[Component]:
    state = stream_job_of(stack)
    return [Component("stream-job", f"job {STREAM_JOB}", state.running, str(state))]


def _install_plan() -> InstallPlan:
    jars = read_lock()
    return InstallPlan(
        jars=(jars["flink"], jars["flink-s3"]),
        environments=(distribution.ENVIRONMENT,),
        steps=(InstallStep("flink", distribution.is_current, distribution.install),),
    )


SERVICE = Service(
    "flink",
    environments=_environments,
    urls=lambda stack: {"flink-jobmanager": stack.url(Port.FLINK)},
    install_plan=_install_plan,
    components=_components,
)
