"""The test run's own S3 storage: endpoint and users, and buckets of a test's own."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider

from diabetes_platform.contract.s3 import S3
from diabetes_platform.local.home import Layout
from diabetes_platform.local.minio.setup import DIRECTORY, read, setup_storage
from diabetes_platform.local.ports import HOST, free_port
from diabetes_platform.local.processes import require_alive, spawn, stop_group
from diabetes_platform.tls import tls

ROOT = "root"
REGION = "us-east-1"
BINARY = Layout(Path()).tools / "bin" / "minio"


@dataclass(frozen=True)
class Storage:
    """A running MinIO: its `endpoint` is a URL, `passwords` has its root user's too."""

    endpoint: str
    passwords: Mapping[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port."""
        return self.endpoint.removeprefix("http://")

    def s3(self, user: str) -> S3:
        """Return how `user` reaches it."""
        return S3(self.endpoint, user, self.passwords[user], REGION)

    def environment(self, user: str) -> dict[str, str]:
        """Return the variables by which a process reaches it as `user`."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": user,
            "AWS_SECRET_ACCESS_KEY": self.passwords[user],
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self, user: str) -> Minio:
        """Return a client of S3's plain operations."""
        return Minio(
            endpoint=self.address,
            access_key=user,
            secret_key=self.passwords[user],
            region=REGION,
            secure=False,
        )

    def admin(self, user: str) -> MinioAdmin:
        """Return a client of MinIO's administration."""
        credentials = StaticProvider(user, self.passwords[user])
        return MinioAdmin(endpoint=self.address, credentials=credentials, secure=False)

    @contextmanager
    def bucket(self) -> Iterator[str]:
        """Yield an empty bucket that only the root user may use; it is gone afterwards."""
        client, name = self.client(ROOT), f"test-{secrets.token_hex(6)}"
        client.make_bucket(bucket_name=name)
        yield name
        for found in client.list_objects(bucket_name=name, recursive=True):
            client.remove_object(bucket_name=name, object_name=str(found.object_name))
        client.remove_bucket(bucket_name=name)


@contextmanager
def running_minio(directory: Path, *, root_password: str) -> Iterator[str]:
    """Run a MinIO on a free port, its data in `directory`; yield its endpoint."""
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
        deadline = time.monotonic() + 30
        while not _ready(f"http://{address}"):
            require_alive(process, "minio", log)
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield f"http://{address}"
    finally:
        stop_group(process, grace=10)


@contextmanager
def own_storage(directory: Path) -> Iterator[Storage]:
    """Run a MinIO and make it the platform's, as the set-up does it."""
    users = read(DIRECTORY).policies
    passwords = {user: secrets.token_urlsafe(24) for user in (ROOT, *users)}
    with running_minio(directory, root_password=passwords[ROOT]) as endpoint:
        setup_storage(endpoint, ROOT, passwords[ROOT], {user: passwords[user] for user in users})
        yield Storage(endpoint, passwords)


def _ready(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/minio/health/ready", verify=tls(), trust_env=False).is_success
    except httpx.TransportError:
        return False
