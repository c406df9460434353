"""The variables with which a process reaches MinIO."""

from diabetes_platform.local.stack import Stack, storage_secret
from diabetes_platform.settings import Port

ROOT_USER = "root"
REGION = "us-east-1"
"""The region that MinIO reports by default."""


def s3_environment(stack: Stack, user: str) -> dict[str, str]:
    """Return the variables of an S3 user, password included."""
    return s3_variables(stack, user, stack.secrets[storage_secret(user)])


def s3_variables(stack: Stack, user: str, password: str) -> dict[str, str]:
    """Return the variables of a user with this password."""
    return {
        "AWS_ENDPOINT_URL": stack.url(Port.MINIO),
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": password,
        "AWS_REGION": REGION,
        # boto3, with which Dagster stores compute logs, reads this name.
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }
