"""MinIO as a service of the local platform."""

from collections.abc import Mapping

from diabetes_platform.local.install.go import Program
from diabetes_platform.local.install.plan import InstallPlan
from diabetes_platform.local.minio.connection import ROOT_USER, s3_variables
from diabetes_platform.local.service import Environment, Service
from diabetes_platform.local.stack import STORAGE_ROOT, STORAGE_USERS, Stack, storage_secret
from diabetes_platform.settings import Port

PROGRAM = Program("minio", "github.com/minio/minio", "github.com/minio/minio/cmd.ReleaseTag")


def _environments(stack: Stack) -> Mapping[str, Environment]:
    root_password = stack.secrets[STORAGE_ROOT]
    return {
        "minio": {"MINIO_ROOT_USER": ROOT_USER, "MINIO_ROOT_PASSWORD": root_password},
        "storage-setup": {
            **s3_variables(stack, ROOT_USER, root_password),
            **{
                f"STORAGE_PASSWORDS__{user.upper()}": stack.secrets[storage_secret(user)]
                for user in STORAGE_USERS
            },
        },
    }


SERVICE = Service(
    "minio",
    environments=_environments,
    urls=lambda stack: {"minio": stack.url(Port.MINIO_CONSOLE)},
    install_plan=lambda: InstallPlan(programs=(PROGRAM,)),
)
