"""The health check of MinIO: the pipeline's user writes, reads and removes an object."""

import io
import uuid
from urllib.parse import urlsplit

from minio import Minio

from diabetes_platform.local.health import HealthCheck, restart_remedy
from diabetes_platform.local.minio.connection import REGION
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.settings import Port

USER = "pipeline"


def write_and_read(stack: Stack) -> str:
    """Write an object, read it back and remove it; raises if that fails."""
    url, bucket = urlsplit(stack.url(Port.MINIO)), _bucket(stack)
    client = Minio(
        url.netloc,
        USER,
        stack.secrets[storage_secret(USER)],
        secure=url.scheme == "https",
        region=stack.base_settings.s3_region or REGION,
    )
    name, content = f"doctor/{uuid.uuid4()}", b"written by diabetes doctor"
    client.put_object(bucket, name, io.BytesIO(content), len(content))
    response = client.get_object(bucket, name)
    try:
        stored = response.read()
    finally:
        response.close()
        response.release_conn()
    client.remove_object(bucket, name)
    if stored != content:
        raise RuntimeError(f"{bucket}/{name} has other content than was written")
    return f"wrote, read and removed an object in {bucket} as {USER}"


def _bucket(stack: Stack) -> str:
    """Return the bucket of the lake."""
    return urlsplit(stack.settings.lake_url or "").netloc


CHECKS = (
    HealthCheck("minio", "writes and reads", write_and_read, restart_remedy("minio"), Port.MINIO),
)
