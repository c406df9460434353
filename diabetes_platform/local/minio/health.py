"""The doctor at the S3 storage: written, read again and removed as the pipeline's own user."""

import io
import uuid

from minio import Minio

from diabetes_platform.local.health import HealthCheck, restart_remedy
from diabetes_platform.local.ports import HOST
from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.settings import Port

BUCKET, USER = "lake", "pipeline"


def write_and_read(stack: Stack) -> str:
    """Write an object, read it back and remove it; raises where that does not work."""
    client = Minio(
        f"{HOST}:{stack.port(Port.MINIO)}",
        USER,
        stack.secrets[storage_secret(USER)],
        secure=False,
        region="us-east-1",
    )
    name, content = f"doctor/{uuid.uuid4()}", b"written by diabetes doctor"
    client.put_object(BUCKET, name, io.BytesIO(content), len(content))
    answer = client.get_object(BUCKET, name)
    try:
        read = answer.read()
    finally:
        answer.close()
        answer.release_conn()
    client.remove_object(BUCKET, name)
    if read != content:
        raise RuntimeError(f"{BUCKET}/{name} reads otherwise than it was written")
    return f"wrote, read and removed an object in {BUCKET} as {USER}"


CHECKS = (
    HealthCheck("minio", "writes and reads", write_and_read, restart_remedy("minio"), Port.MINIO),
)
