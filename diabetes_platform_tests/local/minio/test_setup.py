"""The storage is set up once, a second run changes nothing, and what differs is put right."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from diabetes_platform.contract import tables
from diabetes_platform.local.errors import PlatformError
from diabetes_platform.local.minio.server import Found
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

WANTED = read(DIRECTORY)
USERS = tuple(WANTED.policies)
LAKE_TABLES = [
    table.name
    for table in vars(tables).values()
    if isinstance(table, tables.Table) and "/" in table.name
]
AS_WANTED = Found(
    WANTED.rewritable,
    True,
    WANTED.policies,
    frozenset(USERS),
    {user: user for user in USERS},
)
EMPTY = Found({}, False, {}, frozenset(), {})


def names(found: Found) -> list[str]:
    return [str(change) for change in plan(WANTED, found)]


def test_an_empty_server_gets_everything() -> None:
    kinds = [change.kind for change in plan(WANTED, EMPTY)]
    assert kinds == sorted(
        kinds, key=["bucket", "versions", "limit", "policy", "user", "grant"].index
    )
    assert [name for name in names(EMPTY) if name.startswith("bucket")] == [
        f"bucket {name}" for name in WANTED.rewritable
    ]
    assert [name for name in names(EMPTY) if name.startswith("grant")] == [
        f"grant {user}" for user in USERS
    ]


def test_a_server_that_is_as_wanted_is_left_alone() -> None:
    more = {**WANTED.policies, "readonly": {"Statement": []}}
    assert names(AS_WANTED) == []
    assert names(replace(AS_WANTED, policies=more)) == []


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (replace(AS_WANTED, users=frozenset(USERS) - {"api"}), ["user api"]),
        (replace(AS_WANTED, grants={**AS_WANTED.grants, "api": "readwrite"}), ["grant api"]),
        (
            replace(AS_WANTED, grants={**AS_WANTED.grants, "api": "api,readwrite"}),
            ["grant api"],
        ),
        (
            replace(AS_WANTED, policies={**WANTED.policies, "api": WANTED.policies["pipeline"]}),
            ["policy api"],
        ),
        (
            replace(AS_WANTED, rewritable={**WANTED.rewritable, "lake": None}),
            ["versions lake"],
        ),
        (replace(AS_WANTED, writes_once=False), ["limit one version of an object"]),
    ],
)
def test_only_what_differs_is_set(found: Found, changes: list[str]) -> None:
    assert names(found) == changes


def test_the_order_of_a_policys_lists_is_no_difference() -> None:
    policy = WANTED.policies["pipeline"]
    turned = {**policy, "Statement": policy["Statement"][::-1]}
    assert canonical(turned) == canonical(policy)
    assert canonical({**policy, "Statement": policy["Statement"][1:]}) != canonical(policy)


@pytest.mark.parametrize("table", LAKE_TABLES)
def test_every_table_of_the_lake_is_written_by_the_pipeline(table: str) -> None:
    prefix = table.partition("/")[0] + "/"
    rewritable = WANTED.rewritable["lake"]
    assert rewritable is not None
    assert (prefix in rewritable) is (prefix not in {"labels/", "raw/"})
    assert f"arn:aws:s3:::lake/{prefix}*" in json.dumps(WANTED.policies["pipeline"])


def test_every_user_of_the_platform_has_a_policy() -> None:
    assert set(STORAGE_USERS) == set(USERS)


def test_passwords_are_those_of_the_users_that_have_a_policy() -> None:
    with pytest.raises(PlatformError, match="given passwords of api; policies are there of api, "):
        setup_storage("http://127.0.0.1:1", ROOT, "secret", {"api": "secret"})


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One of its own: these tests change passwords, users and limits."""
    with own_storage(tmp_path_factory.mktemp("storage") / "minio") as running:
        yield running


def set_up_again(storage: Storage, **passwords: str) -> list[str]:
    given = {user: storage.passwords[user] for user in USERS} | passwords
    changes = setup_storage(storage.endpoint, ROOT, storage.passwords[ROOT], given)
    return [str(change) for change in changes]


@pytest.mark.integration
def test_a_second_run_changes_nothing(storage: Storage) -> None:
    assert set_up_again(storage) == []


@pytest.mark.integration
def test_another_password_is_set(storage: Storage) -> None:
    assert set_up_again(storage, api="another-password") == ["user api"]
    assert set_up_again(storage) == ["user api"]


@pytest.mark.integration
def test_what_was_changed_by_hand_is_put_back(storage: Storage) -> None:
    admin = storage.admin(ROOT)
    admin.policy_set("readwrite", user="api")
    admin.user_disable("flink")
    admin.config_set("api", {"object_max_versions": "7"})
    assert set_up_again(storage) == ["limit one version of an object", "user flink", "grant api"]
    assert set_up_again(storage) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("user", "code"), [(ROOT, "SignatureDoesNotMatch"), ("nobody", "InvalidAccessKeyId")]
)
def test_wrong_root_credentials_are_told_in_one_line(
    storage: Storage, user: str, code: str
) -> None:
    with pytest.raises(PlatformError) as raised:
        setup_storage(storage.endpoint, user, "T0SECRET", dict.fromkeys(USERS, "T0SECRET"))
    told = f"MinIO at {storage.endpoint} knows no user {user} with this password ({code})"
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)
    assert "T0SECRET" not in str(raised.value)


def test_a_server_that_does_not_answer_is_told() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PlatformError, match=f"MinIO at {nobody} does not answer: .*refused"):
        setup_storage(nobody, ROOT, "secret", dict.fromkeys(USERS, "secret"))
