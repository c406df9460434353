"""Each user may do its own work and nothing else; raw, labels and models stay as written."""

import io
import tarfile
from collections.abc import Callable
from uuid import uuid4

import pytest
from minio import Minio
from minio.commonconfig import COMPLIANCE, ENABLED, REPLACE, CopySource, Filter, Tags
from minio.deleteobjects import DeleteObject
from minio.error import MinioAdminException, S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.versioningconfig import SUSPENDED, VersioningConfig

from diabetes_platform.contract.bundle import bundle_key, champion_key
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = pytest.mark.integration

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
def test_what_the_pipeline_wrote_once_it_can_neither_change_nor_delete(
    storage: Storage, attempt: Callable[[Written], None], kind: Callable[[str], tuple[str, str]]
) -> None:
    it = Written(storage, *kind(uuid4().hex))
    with pytest.raises(S3Error) as refused:
        attempt(it)
    assert refused.value.code in REFUSALS
    everything = storage.client(ROOT)
    versions = everything.list_objects(
        bucket_name=it.bucket, prefix=it.key, recursive=True, include_version=True
    )
    assert [version.version_id for version in versions] == [it.version]
    assert everything.get_object(**it.where).data == FIRST


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("lake", "labels/patients/_delta_log/_last_checkpoint"),
        ("lake", "raw/patients/_delta_log/_last_checkpoint"),
        ("lake", "cleaned/patients/part-00000.parquet"),
        ("models", champion_key()),
    ],
)
def test_what_is_replaced_by_design_can_be_replaced(
    storage: Storage, bucket: str, key: str
) -> None:
    root, found = storage.client(ROOT), None
    if key == champion_key() and exists(root, bucket, key):
        found = root.get_object(bucket_name=bucket, object_name=key).data
    client = storage.client("pipeline")
    for content in (FIRST, OTHER, found or OTHER):
        put(client, bucket, key, content)
        assert client.get_object(bucket_name=bucket, object_name=key).data == content
    if found is None:
        root.remove_object(bucket_name=bucket, object_name=key)


def exists(client: Minio, bucket: str, key: str) -> bool:
    return any(client.list_objects(bucket_name=bucket, prefix=key))


READ, ADD, ALL = {"read"}, {"read", "add"}, {"read", "add", "replace", "delete"}
RIGHTS = {
    "pipeline": {
        "lake/labels/": ADD,
        "lake/raw/": ADD,
        "lake/elsewhere/": READ,
        "lake/cleaned/": ALL,
        "lake/features/": ALL,
        "lake/model/": ALL,
        "lake/quarantine/": ALL,
        "lake/statistics/": ALL,
        "lake/stream/": ALL,
        "logs/": ALL,
        "models/diabetes/": ADD,
    },
    "spark": {
        "lake/labels/": READ,
        "lake/raw/": READ,
        "lake/cleaned/": ALL,
        "lake/quarantine/": ALL,
        "lake/statistics/": ALL,
    },
    "api": {"models/diabetes/": READ},
    "predictor": {"models/diabetes/": READ},
    "flink": {"checkpoints/": ALL},
}
PLACES = sorted({place for places in RIGHTS.values() for place in places})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("user", RIGHTS)
def test_a_user_may_do_its_own_work_and_nothing_else(
    storage: Storage, user: str, place: str
) -> None:
    bucket, _, prefix = place.partition("/")
    key, client = f"{prefix}{uuid4().hex}", storage.client(user)
    put(storage.client(ROOT), bucket, key, FIRST)
    where = {"bucket_name": bucket, "object_name": key}
    actions: dict[str, Callable[[], object]] = {
        "read": lambda: client.get_object(**where),
        "add": lambda: put(client, bucket, f"{key}.new", OTHER),
        "replace": lambda: put(client, bucket, key, OTHER),
        "delete": lambda: client.remove_object(**where),
    }
    done = {name for name, action in actions.items() if allowed(action)}
    assert done == RIGHTS[user].get(place, set())


@pytest.mark.parametrize("user", RIGHTS)
def test_no_user_administers_even_itself(storage: Storage, user: str) -> None:
    admin = storage.admin(user)
    everything = {"Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}
    for attempt in (
        lambda: admin.user_add(user, "another-password"),
        admin.add_service_account,
        lambda: admin.policy_add(user, policy={"Version": "2012-10-17", **everything}),
        lambda: admin.policy_set("readwrite", user=user),
        lambda: admin.config_set("api", {"object_max_versions": "9"}),
        admin.service_stop,
    ):
        with pytest.raises(MinioAdminException, match="AccessDenied"):
            attempt()


def allowed(action: Callable[[], object]) -> bool:
    try:
        action()
    except S3Error as error:
        if error.code not in REFUSALS:
            raise
        return False
    return True
