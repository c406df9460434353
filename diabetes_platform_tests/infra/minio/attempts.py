"""What the pipeline may try with an object that it has written once, and how MinIO refuses."""

import io
import tarfile

from minio import Minio
from minio.commonconfig import COMPLIANCE, ENABLED, REPLACE, CopySource, Filter, Tags
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.versioningconfig import SUSPENDED, VersioningConfig

from diabetes_platform_tests.storage import Storage

FIRST, OTHER = b"as received", b"something else"
REFUSALS = {"AccessDenied", "MaxVersionsExceeded"}
ARCHIVE = {"X-Amz-Meta-Snowball-Auto-Extract": "true"}
"""By this header MinIO unpacks what it is sent."""


class Written:
    """An object that the pipeline has written once, and what it tries to do with it afterwards."""

    def __init__(self, storage: Storage, bucket: str, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.client = storage.client("pipeline")
        self.version = put(self.client, bucket, key, FIRST)

    @property
    def where(self) -> dict[str, str]:
        return {"bucket_name": self.bucket, "object_name": self.key}

    def send(self, method: str, key: str, body: bytes = b"", **more: dict[str, str]) -> None:
        """Send a request that the client has no function for."""
        self.client._execute(method, bucket_name=self.bucket, object_name=key, body=body, **more)

    def send_archive(self, key: str, name: str, below: str) -> None:
        """Send an archive of one file that claims to be the object's version."""
        headers = {**ARCHIVE, "X-Amz-Meta-Minio-Snowball-Prefix": below} if below else ARCHIVE
        self.send("PUT", key, archive(name, self.version), headers=headers)


def put(client: Minio, bucket: str, key: str, content: bytes) -> str | None:
    stream = io.BytesIO(content)
    return client.put_object(
        bucket_name=bucket, object_name=key, data=stream, length=len(content)
    ).version_id


def archive(name: str, version: str | None) -> bytes:
    file = tarfile.TarInfo(name)
    file.size, file.pax_headers = len(OTHER), {"minio.versionId": str(version)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(file, io.BytesIO(OTHER))
    return packed.getvalue()


def overwrite(it: Written) -> None:
    put(it.client, it.bucket, it.key, OTHER)


def overwrite_by_parts(it: Written) -> None:
    it.client.put_object(**it.where, data=io.BytesIO(OTHER), length=-1, part_size=5 << 20)


def copy_over_it(it: Written) -> None:
    put(it.client, "lake", "cleaned/other", OTHER)
    it.client.copy_object(**it.where, source=CopySource("lake", "cleaned/other"))


def copy_it_onto_itself(it: Written) -> None:
    it.client.copy_object(
        **it.where,
        source=CopySource(it.bucket, it.key),
        metadata={"a": "b"},
        metadata_directive=REPLACE,
    )


def give_the_version_other_content(it: Written) -> None:
    it.send("PUT", it.key, OTHER, query_params={"versionId": str(it.version)})


def unpack_an_archive_at_the_top(it: Written) -> None:
    it.send_archive(f"{it.key}.tar", it.key, below="")


def unpack_an_archive_in_its_directory(it: Written) -> None:
    directory, _, name = it.key.rpartition("/")
    it.send_archive(f"{it.key}.tar", name, below=directory)


def unpack_an_archive_elsewhere_that_climbs(it: Written) -> None:
    it.send_archive("cleaned/a.tar", f"../{it.key}", below="cleaned")


def delete(it: Written) -> None:
    it.client.remove_object(**it.where)


def delete_the_version(it: Written) -> None:
    it.client.remove_object(**it.where, version_id=it.version)


def delete_several(it: Written) -> None:
    several = [DeleteObject(it.key), DeleteObject(it.key, it.version)]
    for error in it.client.remove_objects(bucket_name=it.bucket, delete_object_list=several):
        raise S3Error(None, error.code, error.message, None, None, None)


def delete_all_below(it: Written) -> None:
    it.send("DELETE", it.key.partition("/")[0], headers={"x-minio-force-delete": "true"})


def delete_the_bucket(it: Written) -> None:
    it.client._execute("DELETE", bucket_name=it.bucket, headers={"x-minio-force-delete": "true"})


def tag(it: Written) -> None:
    tags = Tags.new_object_tags()
    tags["a"] = "b"
    it.client.set_object_tags(**it.where, tags=tags)


def suspend_versioning(it: Written) -> None:
    it.client.set_bucket_versioning(bucket_name=it.bucket, config=VersioningConfig(SUSPENDED))


def except_raw_from_versioning(it: Written) -> None:
    config = VersioningConfig(ENABLED, excluded_prefixes=["raw/", "diabetes/"])
    it.client.set_bucket_versioning(bucket_name=it.bucket, config=config)


def lock_the_bucket(it: Written) -> None:
    config = ObjectLockConfig(COMPLIANCE, 1, DAYS)
    it.client.set_object_lock_config(bucket_name=it.bucket, config=config)


def let_the_objects_expire(it: Written) -> None:
    rule = Rule(ENABLED, rule_filter=Filter(prefix=""), expiration=Expiration(days=1))
    it.client.set_bucket_lifecycle(bucket_name=it.bucket, config=LifecycleConfig([rule]))


def open_the_bucket_to_all(it: Written) -> None:
    anything = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]}, '
        f'"Action": ["s3:*"], "Resource": ["arn:aws:s3:::{it.bucket}/*"]}}]}}'
    )
    it.client.set_bucket_policy(bucket_name=it.bucket, policy=anything)


ATTEMPTS = [
    overwrite,
    overwrite_by_parts,
    copy_over_it,
    copy_it_onto_itself,
    give_the_version_other_content,
    unpack_an_archive_at_the_top,
    unpack_an_archive_in_its_directory,
    unpack_an_archive_elsewhere_that_climbs,
    delete,
    delete_the_version,
    delete_several,
    delete_all_below,
    delete_the_bucket,
    tag,
    suspend_versioning,
    except_raw_from_versioning,
    lock_the_bucket,
    let_the_objects_expire,
    open_the_bucket_to_all,
]
