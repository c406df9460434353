"""Attempts of the pipeline to change or delete an object that it has written once."""

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
REJECTIONS = {"AccessDenied", "MaxVersionsExceeded"}
ARCHIVE = {"X-Amz-Meta-Snowball-Auto-Extract": "true"}
"""With this header MinIO unpacks the uploaded archive."""


class WrittenObject:
    """An object that the pipeline has written once."""

    def __init__(self, storage: Storage, bucket: str, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.client = storage.client("pipeline")
        self.version = put(self.client, bucket, key, FIRST)

    @property
    def location(self) -> dict[str, str]:
        return {"bucket_name": self.bucket, "object_name": self.key}

    def send(self, method: str, key: str, body: bytes = b"", **options: dict[str, str]) -> None:
        """Send a request for which the client has no method."""
        self.client._execute(method, bucket_name=self.bucket, object_name=key, body=body, **options)

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


def overwrite(written: WrittenObject) -> None:
    put(written.client, written.bucket, written.key, OTHER)


def overwrite_by_parts(written: WrittenObject) -> None:
    written.client.put_object(
        **written.location, data=io.BytesIO(OTHER), length=-1, part_size=5 << 20
    )


def copy_another_object_over(written: WrittenObject) -> None:
    put(written.client, "lake", "cleaned/other", OTHER)
    written.client.copy_object(**written.location, source=CopySource("lake", "cleaned/other"))


def copy_onto_itself(written: WrittenObject) -> None:
    written.client.copy_object(
        **written.location,
        source=CopySource(written.bucket, written.key),
        metadata={"a": "b"},
        metadata_directive=REPLACE,
    )


def give_the_version_other_content(written: WrittenObject) -> None:
    written.send("PUT", written.key, OTHER, query_params={"versionId": str(written.version)})


def unpack_an_archive_at_the_top(written: WrittenObject) -> None:
    written.send_archive(f"{written.key}.tar", written.key, below="")


def unpack_an_archive_in_its_directory(written: WrittenObject) -> None:
    directory, _, name = written.key.rpartition("/")
    written.send_archive(f"{written.key}.tar", name, below=directory)


def unpack_an_archive_elsewhere_that_climbs(written: WrittenObject) -> None:
    written.send_archive("cleaned/a.tar", f"../{written.key}", below="cleaned")


def delete(written: WrittenObject) -> None:
    written.client.remove_object(**written.location)


def delete_the_version(written: WrittenObject) -> None:
    written.client.remove_object(**written.location, version_id=written.version)


def delete_several(written: WrittenObject) -> None:
    several = [DeleteObject(written.key), DeleteObject(written.key, written.version)]
    for error in written.client.remove_objects(
        bucket_name=written.bucket, delete_object_list=several
    ):
        raise S3Error(None, error.code, error.message, None, None, None)


def delete_all_below(written: WrittenObject) -> None:
    written.send("DELETE", written.key.partition("/")[0], headers={"x-minio-force-delete": "true"})


def delete_the_bucket(written: WrittenObject) -> None:
    written.client._execute(
        "DELETE", bucket_name=written.bucket, headers={"x-minio-force-delete": "true"}
    )


def tag(written: WrittenObject) -> None:
    tags = Tags.new_object_tags()
    tags["a"] = "b"
    written.client.set_object_tags(**written.location, tags=tags)


def suspend_versioning(written: WrittenObject) -> None:
    written.client.set_bucket_versioning(
        bucket_name=written.bucket, config=VersioningConfig(SUSPENDED)
    )


def except_raw_from_versioning(written: WrittenObject) -> None:
    config = VersioningConfig(ENABLED, excluded_prefixes=["raw/", "diabetes/"])
    written.client.set_bucket_versioning(bucket_name=written.bucket, config=config)


def lock_the_bucket(written: WrittenObject) -> None:
    config = ObjectLockConfig(COMPLIANCE, 1, DAYS)
    written.client.set_object_lock_config(bucket_name=written.bucket, config=config)


def let_the_objects_expire(written: WrittenObject) -> None:
    rule = Rule(ENABLED, rule_filter=Filter(prefix=""), expiration=Expiration(days=1))
    written.client.set_bucket_lifecycle(bucket_name=written.bucket, config=LifecycleConfig([rule]))


def open_the_bucket_to_all(written: WrittenObject) -> None:
    public_policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]}, '
        f'"Action": ["s3:*"], "Resource": ["arn:aws:s3:::{written.bucket}/*"]}}]}}'
    )
    written.client.set_bucket_policy(bucket_name=written.bucket, policy=public_policy)


ATTEMPTS = [
    overwrite,
    overwrite_by_parts,
    copy_another_object_over,
    copy_onto_itself,
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
