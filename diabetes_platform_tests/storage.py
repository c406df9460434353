"""S3 storage for tests: endpoint, users, and buckets for a single test."""

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider

from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import require_alive, spawn, stop_group
from diabetes_platform.local.stack import STORAGE_ROOT, STORAGE_USERS, Stack, storage_secret
from diabetes_platform.polling import wait_until
from diabetes_platform.provisioning.storage import DIRECTORY, read, setup_storage
from diabetes_platform.settings import Port
from diabetes_platform.tls import tls

ROOT = "root"
REGION = "us-east-1"
BINARY = HomeLayout(Path()).tools / "bin" / "minio"


@dataclass(frozen=True)
class Storage:
    """A running MinIO with the passwords of its users, including the root user."""

    endpoint: str
    passwords: Mapping[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port."""
        return self.endpoint.removeprefix("http://")

    def s3(self, user: str) -> S3:
        """Return the S3 settings of `user`."""
        return S3(self.endpoint, user, self.passwords[user], REGION)

    def environment(self, user: str) -> dict[str, str]:
        """Return the environment variables of a process that acts as `user`."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": self.passwords[user],
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self, user: str) -> Minio:
        """Return an S3 client."""
        return Minio(
            endpoint=self.address,
            access_key=user,
            secret_key=self.passwords[user],
            region=REGION,
            secure=False,
        )

    def admin(self, user: str) -> MinioAdmin:
        """Return an administration client."""
        credentials = StaticProvider(user, self.passwords[user])
        return MinioAdmin(endpoint=self.address, credentials=credentials, secure=False)

    @contextmanager
    def bucket(self) -> Iterator[str]:
        """Yield an empty bucket that only the root user can access; delete it afterwards."""
        name = f"test-{secrets.token_hex(6)}"
        self.client(ROOT).make_bucket(bucket_name=name)
        yield name
        self.delete_bucket(name)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with all versions of its objects."""
        client = self.client(ROOT)
        for entry in client.list_objects(bucket_name=name, recursive=True, include_version=True):
            client.remove_object(
                bucket_name=name, object_name=str(entry.object_name), version_id=entry.version_id
            )
        client.remove_bucket(bucket_name=name)


def storage_of(stack: Stack) -> Storage:
    """Return the S3 of a running platform, with its buckets, users and policies."""
    users = {user: stack.secrets[storage_secret(user)] for user in STORAGE_USERS}
    return Storage(stack.url(Port.MINIO), {ROOT: stack.secrets[STORAGE_ROOT], **users})


@contextmanager
def running_minio(directory: Path, *, root_password: str) -> Iterator[str]:
    """Run MinIO on a free port with its data in `directory`; yield its endpoint."""
    address, console = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    log = directory.with_suffix(".log")
    process = spawn(
        [str(BINARY), "server", "--address", address, "--console-address", console, str(directory)],
        log=log,
        environment={
            "HOME": str(directory),
            "MINIO_ROOT_USER": ROOT,
            "MINIO_ROOT_PASSWORD": root_password,
            "MINIO_UPDATE": "off",
        },
    )
    try:
        endpoint = f"http://{address}"
        wait_until(lambda: _ready(endpoint, process, log), timeout=30, interval=0.05)
        yield endpoint
    finally:
        stop_group(process, grace=10)


@contextmanager
def own_storage(directory: Path) -> Iterator[Storage]:
    """Run MinIO with the platform's buckets, users and policies."""
    users = read(DIRECTORY).policies
    passwords = {user: secrets.token_urlsafe(24) for user in (ROOT, *users)}
    with running_minio(directory, root_password=passwords[ROOT]) as endpoint:
        setup_storage(endpoint, ROOT, passwords[ROOT], {user: passwords[user] for user in users})
        yield Storage(endpoint, passwords)


def _ready(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    require_alive(process, "minio", log)
    try:
        return httpx.get(f"{endpoint}/minio/health/ready", verify=tls(), trust_env=False).is_success
    except httpx.TransportError:
        return False
