"""Set-up of MinIO: its configuration, and its effect on a real server."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from minio.versioningconfig import SUSPENDED, VersioningConfig

from diabetes_platform.contract import tables
from diabetes_platform.errors import PlatformError
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.stack import STORAGE_USERS
from diabetes_platform.provisioning.storage import DIRECTORY, read, setup_storage
from diabetes_platform_tests.storage import ROOT, Storage, own_storage, running_minio

CONFIG = read(DIRECTORY)
USERS = tuple(CONFIG.policies)
LAKE_TABLES = [
    table.name
    for table in vars(tables).values()
    if isinstance(table, tables.Table) and "/" in table.name
]


@pytest.mark.parametrize("table", LAKE_TABLES)
def test_the_pipeline_may_write_every_table_of_the_lake(table: str) -> None:
    prefix = table.partition("/")[0] + "/"
    rewritable = CONFIG.rewritable["lake"]
    assert rewritable is not None
    assert (prefix in rewritable) is (prefix not in {"labels/", "raw/"})
    assert f"arn:aws:s3:::lake/{prefix}*" in json.dumps(CONFIG.policies["pipeline"])


def test_every_user_of_the_platform_has_a_policy() -> None:
    assert set(STORAGE_USERS) == set(USERS)


def test_rejects_passwords_of_other_users_than_those_with_policies() -> None:
    with pytest.raises(PlatformError, match="passwords are set for api; allowed: api, "):
        setup_storage("http://127.0.0.1:1", ROOT, "secret", {"api": "secret"})


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A server for these tests only, because they change passwords, users and limits."""
    with own_storage(tmp_path_factory.mktemp("storage") / "minio") as running:
        yield running


def run_setup(storage: Storage, **passwords: str) -> list[str]:
    all_passwords = {user: storage.passwords[user] for user in USERS} | passwords
    return setup_storage(storage.endpoint, ROOT, storage.passwords[ROOT], all_passwords)


def policies(storage: Storage) -> dict[str, str]:
    """Return the policies of each user, separated by commas."""
    admin = storage.admin(ROOT)
    return {user: json.loads(admin.user_info(user))["policyName"] for user in USERS}


def actions(policy: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return the effect of a policy on each action and resource, whatever their order."""
    return {
        (statement["Effect"], action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement.get("Resource", ["*"])
    }


@pytest.mark.integration
def test_an_empty_server_gets_buckets_limit_and_users(tmp_path: Path) -> None:
    with running_minio(tmp_path / "minio", root_password="root-password") as endpoint:
        passwords = dict.fromkeys(USERS, "user-password")
        assert setup_storage(endpoint, ROOT, "root-password", passwords) == [
            *(f"bucket {name}" for name in CONFIG.rewritable),
            "limit one version of an object",
            *(f"user {user}" for user in USERS),
        ]


@pytest.mark.integration
def test_a_second_run_changes_nothing(storage: Storage) -> None:
    assert run_setup(storage) == []
    assert policies(storage) == {user: user for user in USERS}


@pytest.mark.integration
def test_changes_a_password(storage: Storage) -> None:
    assert run_setup(storage, api="another-password") == ["user api"]
    assert run_setup(storage) == ["user api"]


@pytest.mark.integration
def test_reverts_manual_changes(storage: Storage) -> None:
    admin, client = storage.admin(ROOT), storage.client(ROOT)
    admin.policy_set("readwrite", user="api")
    admin.policy_add("spark", policy=CONFIG.policies["pipeline"])
    admin.user_disable("flink")
    admin.config_set("api", {"object_max_versions": "7"})
    client.set_bucket_versioning(bucket_name="lake", config=VersioningConfig(SUSPENDED))
    assert run_setup(storage) == ["limit one version of an object", "user flink"]
    assert policies(storage) == {user: user for user in USERS}
    assert actions(json.loads(admin.policy_list())["spark"]) == actions(CONFIG.policies["spark"])
    lake = client.get_bucket_versioning(bucket_name="lake")
    assert lake.status == "Enabled"
    assert set(lake.excluded_prefixes or ()) == CONFIG.rewritable["lake"]
    assert run_setup(storage) == []


@pytest.mark.integration
def test_creates_a_removed_user_again(storage: Storage) -> None:
    storage.admin(ROOT).user_remove("predictor")
    assert run_setup(storage) == ["user predictor"]
    assert policies(storage)["predictor"] == "predictor"


@pytest.mark.integration
def test_creates_deleted_buckets_again(storage: Storage) -> None:
    for name in ("lake", "checkpoints"):
        storage.delete_bucket(name)
    assert run_setup(storage) == ["bucket lake", "bucket checkpoints"]
    lake = storage.client(ROOT).get_bucket_versioning(bucket_name="lake")
    assert (lake.status, set(lake.excluded_prefixes or ())) == (
        "Enabled",
        CONFIG.rewritable["lake"],
    )
    pipeline = storage.client("pipeline")
    for content in (b"first", b"second"):
        pipeline.put_object(
            bucket_name="lake",
            object_name="stream/patients/part",
            data=io.BytesIO(content),
            length=len(content),
        )
    assert run_setup(storage) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("user", "code"), [(ROOT, "SignatureDoesNotMatch"), ("nobody", "InvalidAccessKeyId")]
)
def test_reports_wrong_root_credentials_in_one_line(storage: Storage, user: str, code: str) -> None:
    with pytest.raises(PlatformError) as raised:
        setup_storage(storage.endpoint, user, "T0SECRET", dict.fromkeys(USERS, "T0SECRET"))
    message = f"MinIO at {storage.endpoint} has no user {user} with this password ({code})"
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert "T0SECRET" not in str(raised.value)


def test_reports_a_server_that_does_not_answer() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PlatformError, match=f"MinIO at {endpoint} does not answer: .*refused"):
        setup_storage(endpoint, ROOT, "secret", dict.fromkeys(USERS, "secret"))
