"""What each process of the whole platform gets as environment: its own secrets, nobody else's."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from diabetes_platform.local.environment import (
    DAGSTER_POSTGRES_URL,
    READER_URL,
    WAREHOUSE_URL,
    child_environment,
)
from diabetes_platform.local.locks import make_private
from diabetes_platform.local.platform import DAGSTER_DATABASE, WAREHOUSE_DATABASE
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.postgres.data import SUPERUSER, binary, connection_url
from diabetes_platform.local.secrets import POSTGRES
from diabetes_platform.local.stack import (
    INFRA,
    STORAGE_ROOT,
    STORAGE_USERS,
    Stack,
    role_secret,
    storage_secret,
)
from diabetes_platform.settings import PROJECT_ROOT, Port
from diabetes_platform.warehouse.roles import ROLES

SUPERVISED = "PLATFORM_SUPERVISED"
"""Marks every process of a platform with its state directory."""
STORAGE_ROOT_USER = "root"
REGION = "us-east-1"
"""What MinIO calls its region unless told otherwise."""

Environment = dict[str, str]


def public_environment(
    stack: Stack, *, java_home: str, inherited: Mapping[str, str]
) -> Environment:
    """Return the supervisor's environment, which every process inherits: no secret in it."""
    layout = stack.layout
    names = {
        "TOOLS": str(stack.layout.tools),
        "INFRA": str(INFRA),
        "CHECKOUT": str(PROJECT_ROOT),
        "ENV_DIR": str(stack.environments),
        "PYTHON": layout.program("python"),
        "PROGRAMS": str(Path(layout.program("python")).parent),
        "SERVING_PYTHON": str(layout.serving_python),
        "POSTGRES_BIN": str(binary("postgres").parent),
        "JAVA_HOME": java_home,
        "PC_DISABLE_DOTENV": "1",
        SUPERVISED: str(layout.home),
    }
    ports = {f"{port.name}_PORT": str(stack.port(port)) for port in Port}
    kept = {k: v for k, v in inherited.items() if not k.startswith(("AWS_", "PC_"))}
    return {**child_environment(stack.settings, inherited=kept), **names, **ports}


def own_environments(stack: Stack) -> dict[str, Environment]:
    """Return what each process gets besides, by the name of its file."""
    pipeline = _pipeline(stack)
    roles = {role.name: stack.secrets[role_secret(role.name)] for role in ROLES}
    return {
        "minio": {
            "MINIO_ROOT_USER": STORAGE_ROOT_USER,
            "MINIO_ROOT_PASSWORD": stack.secrets[STORAGE_ROOT],
        },
        "storage-setup": {
            **_s3(stack, STORAGE_ROOT_USER, stack.secrets[STORAGE_ROOT]),
            **{
                f"STORAGE_PASSWORDS__{user.upper()}": stack.secrets[storage_secret(user)]
                for user in STORAGE_USERS
            },
        },
        "postgres": {"POSTGRES_PASSWORD": _superuser_password(stack)},
        "warehouse-setup": {
            "POSTGRES_PASSWORD": _superuser_password(stack),
            **{f"ROLE_PASSWORDS__{role.upper()}": password for role, password in roles.items()},
        },
        "kafka": {},
        "topics-setup": {},
        "connect": {"DEBEZIUM_PASSWORD": roles["debezium"]},
        "connector-setup": {"ROLE_PASSWORDS__DEBEZIUM": roles["debezium"]},
        "spark-connect": _s3_of(stack, "spark"),
        "flink-jobmanager": _s3_of(stack, "flink"),
        "flink-taskmanager": _s3_of(stack, "flink"),
        "stream-job": _s3_of(stack, "flink"),
        "dagster": pipeline,
        "api": _serving(stack, "api"),
        "predictor": _serving(stack, "predictor"),
    }


def pipeline_environment(stack: Stack, inherited: Mapping[str, str]) -> Environment:
    """Return the environment of a process that runs the asset graph beside the platform."""
    return {**child_environment(stack.settings, inherited=inherited), **_pipeline(stack)}


def write_environments(stack: Stack) -> None:
    """Write each process's file, for its owner only."""
    make_private(stack.environments)
    for service, environment in own_environments(stack).items():
        path = stack.environments / f"{service}.env"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.writelines(f"{n}={shlex.quote(v)}\n" for n, v in environment.items())


def _pipeline(stack: Stack) -> Environment:
    settings = stack.settings
    given = {WAREHOUSE_URL: settings.warehouse_url, READER_URL: settings.reader_url}
    urls = {name: url.get_secret_value() for name, url in given.items() if url is not None}
    if WAREHOUSE_URL not in urls:
        for name, role in ((WAREHOUSE_URL, "pipeline"), (READER_URL, "reader")):
            urls.setdefault(name, database_url(stack, role, WAREHOUSE_DATABASE))
    return {
        **urls,
        DAGSTER_POSTGRES_URL: database_url(stack, "dagster", DAGSTER_DATABASE),
        "PLATFORM_LAKE_URL": settings.lake,
        "PLATFORM_MODELS_URL": settings.models,
        "SPARK_REMOTE": settings.spark_remote or "",
        "PLATFORM_KAFKA_SERVERS": f"{HOST}:{stack.port(Port.KAFKA)}",
        "PLATFORM_CONNECT_URL": stack.url(Port.CONNECT),
        "PLATFORM_FLINK_URL": stack.url(Port.FLINK),
        "PLATFORM_STORAGE_CONSOLE_URL": stack.url(Port.MINIO_CONSOLE),
        **_s3_of(stack, "pipeline"),
    }


def _serving(stack: Stack, who: str) -> Environment:
    """What reads the models and the warehouse as `who`, a user of both."""
    return {
        "PLATFORM_MODELS_URL": stack.settings.models,
        "PLATFORM_DATABASE_URL": database_url(stack, who, WAREHOUSE_DATABASE),
        **_s3_of(stack, who),
    }


def database_url(stack: Stack, role: str, database: str) -> str:
    """Return the connection URL of a role, password included."""
    password = _superuser_password(stack) if role == SUPERUSER else stack.secrets[role_secret(role)]
    return connection_url(role, password, stack.port(Port.POSTGRES), database)


def _superuser_password(stack: Stack) -> str:
    given = stack.given.warehouse_password
    return stack.secrets[POSTGRES] if given is None else given.get_secret_value()


def _s3_of(stack: Stack, user: str) -> Environment:
    return _s3(stack, user, stack.secrets[storage_secret(user)])


def _s3(stack: Stack, user: str, password: str) -> Environment:
    return {
        "AWS_ENDPOINT_URL": stack.url(Port.MINIO),
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": password,
        "AWS_REGION": REGION,
        # By this name boto3 knows it, with which Dagster stores output.
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }
