"""Set-up of MinIO: planned changes, and their effect on a real server."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from diabetes_platform.contract import tables
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.minio.admin import StorageState
from diabetes_platform.local.minio.setup import (
    DIRECTORY,
    canonical,
    plan,
    read,
    setup_storage,
)
from diabetes_platform.local.ports import free_port
from diabetes_platform.local.stack import STORAGE_USERS
from diabetes_platform_tests.storage import ROOT, Storage, own_storage

CONFIG = read(DIRECTORY)
USERS = tuple(CONFIG.policies)
LAKE_TABLES = [
    table.name
    for table in vars(tables).values()
    if isinstance(table, tables.Table) and "/" in table.name
]
CONFIGURED = StorageState(
    CONFIG.rewritable,
    True,
    CONFIG.policies,
    frozenset(USERS),
    {user: user for user in USERS},
)
EMPTY = StorageState({}, False, {}, frozenset(), {})


def names(state: StorageState) -> list[str]:
    return [str(change) for change in plan(CONFIG, state)]


def test_plans_all_changes_for_an_empty_server_in_order() -> None:
    kinds = [change.kind for change in plan(CONFIG, EMPTY)]
    assert kinds == sorted(
        kinds, key=["bucket", "versions", "limit", "policy", "user", "grant"].index
    )
    assert [name for name in names(EMPTY) if name.startswith("bucket")] == [
        f"bucket {name}" for name in CONFIG.rewritable
    ]
    assert [name for name in names(EMPTY) if name.startswith("grant")] == [
        f"grant {user}" for user in USERS
    ]


def test_plans_no_changes_for_a_configured_server() -> None:
    policies = {**CONFIG.policies, "readonly": {"Statement": []}}
    assert names(CONFIGURED) == []
    assert names(replace(CONFIGURED, policies=policies)) == []


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (replace(CONFIGURED, users=frozenset(USERS) - {"api"}), ["user api"]),
        (replace(CONFIGURED, grants={**CONFIGURED.grants, "api": "readwrite"}), ["grant api"]),
        (
            replace(CONFIGURED, grants={**CONFIGURED.grants, "api": "api,readwrite"}),
            ["grant api"],
        ),
        (
            replace(CONFIGURED, policies={**CONFIG.policies, "api": CONFIG.policies["pipeline"]}),
            ["policy api"],
        ),
        (
            replace(CONFIGURED, rewritable={**CONFIG.rewritable, "lake": None}),
            ["versions lake"],
        ),
        (replace(CONFIGURED, writes_once=False), ["limit one version of an object"]),
    ],
)
def test_plans_only_differences(state: StorageState, changes: list[str]) -> None:
    assert names(state) == changes


def test_ignores_the_order_of_lists_in_a_policy() -> None:
    policy = CONFIG.policies["pipeline"]
    reordered = {**policy, "Statement": policy["Statement"][::-1]}
    assert canonical(reordered) == canonical(policy)
    assert canonical({**policy, "Statement": policy["Statement"][1:]}) != canonical(policy)


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
    changes = setup_storage(storage.endpoint, ROOT, storage.passwords[ROOT], all_passwords)
    return [str(change) for change in changes]


@pytest.mark.integration
def test_a_second_run_changes_nothing(storage: Storage) -> None:
    assert run_setup(storage) == []


@pytest.mark.integration
def test_changes_a_password(storage: Storage) -> None:
    assert run_setup(storage, api="another-password") == ["user api"]
    assert run_setup(storage) == ["user api"]


@pytest.mark.integration
def test_reverts_manual_changes(storage: Storage) -> None:
    admin = storage.admin(ROOT)
    admin.policy_set("readwrite", user="api")
    admin.user_disable("flink")
    admin.config_set("api", {"object_max_versions": "7"})
    assert run_setup(storage) == ["limit one version of an object", "user flink", "grant api"]
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
