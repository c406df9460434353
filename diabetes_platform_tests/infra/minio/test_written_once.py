"""Raw data, labels and models are written once; rewritable objects can be replaced."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from minio import Minio
from minio.error import S3Error

from diabetes_platform.contract.bundle import bundle_key, champion_key
from diabetes_platform_tests.infra.minio.attempts import (
    ATTEMPTS,
    FIRST,
    OTHER,
    REJECTIONS,
    WrittenObject,
    put,
)
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = pytest.mark.integration


def raw_file(name: str) -> tuple[str, str]:
    return "lake", f"raw/patients/content_hash={name}/part-00000.parquet"


def raw_commit(name: str) -> tuple[str, str]:
    return "lake", f"raw/{name}/_delta_log/00000000000000000001.json"


def labels_commit(name: str) -> tuple[str, str]:
    return "lake", f"labels/{name}/_delta_log/00000000000000000001.json"


def model_file(name: str) -> tuple[str, str]:
    return "models", bundle_key(name, "model.txt")


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
@pytest.mark.parametrize(
    "kind", [raw_file, raw_commit, labels_commit, model_file], ids=lambda k: k.__name__
)
def test_the_pipeline_cannot_change_or_delete_an_object_that_is_written_once(
    storage: Storage,
    attempt: Callable[[WrittenObject], None],
    kind: Callable[[str], tuple[str, str]],
) -> None:
    written = WrittenObject(storage, *kind(uuid4().hex))
    with pytest.raises(S3Error) as rejected:
        attempt(written)
    assert rejected.value.code in REJECTIONS
    root = storage.client(ROOT)
    versions = root.list_objects(
        bucket_name=written.bucket, prefix=written.key, recursive=True, include_version=True
    )
    assert [version.version_id for version in versions] == [written.version]
    assert root.get_object(**written.location).data == FIRST


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("lake", "labels/patients/_delta_log/_last_checkpoint"),
        ("lake", "raw/patients/_delta_log/_last_checkpoint"),
        ("lake", "cleaned/patients/part-00000.parquet"),
        ("models", champion_key()),
        ("models", "diabetes/candidate.json"),
    ],
)
def test_the_pipeline_can_replace_rewritable_objects(
    storage: Storage, bucket: str, key: str
) -> None:
    root, original = storage.client(ROOT), None
    if bucket == "models" and exists(root, bucket, key):
        original = root.get_object(bucket_name=bucket, object_name=key).data
    client = storage.client("pipeline")
    for content in (FIRST, OTHER, original or OTHER):
        put(client, bucket, key, content)
        assert client.get_object(bucket_name=bucket, object_name=key).data == content
    if original is None:
        root.remove_object(bucket_name=bucket, object_name=key)


def exists(client: Minio, bucket: str, key: str) -> bool:
    return any(client.list_objects(bucket_name=bucket, prefix=key))
