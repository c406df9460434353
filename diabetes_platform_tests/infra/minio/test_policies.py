"""Policies of the S3 users: each can do its own work, nothing else, and no administration."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from minio.error import MinioAdminException, S3Error

from diabetes_platform_tests.infra.minio.attempts import FIRST, OTHER, REJECTIONS, put
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = pytest.mark.integration

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
        "data-docs/": ALL,
        "models/diabetes/": ADD,
    },
    "spark": {
        "lake/labels/": READ,
        "lake/raw/": READ,
        "lake/cleaned/": ALL,
        "lake/quarantine/": ALL,
        "lake/statistics/": ALL,
    },
    "api": {"models/diabetes/": READ, "data-docs/": READ},
    "predictor": {"models/diabetes/": READ},
    "flink": {"checkpoints/": ALL},
}
PREFIXES = sorted({prefix for rights in RIGHTS.values() for prefix in rights})


@pytest.mark.parametrize("path", PREFIXES)
@pytest.mark.parametrize("user", RIGHTS)
def test_a_user_can_do_its_own_work_and_nothing_else(
    storage: Storage, user: str, path: str
) -> None:
    bucket, _, prefix = path.partition("/")
    key, client = f"{prefix}{uuid4().hex}", storage.client(user)
    put(storage.client(ROOT), bucket, key, FIRST)
    location = {"bucket_name": bucket, "object_name": key}
    actions: dict[str, Callable[[], object]] = {
        "read": lambda: client.get_object(**location),
        "add": lambda: put(client, bucket, f"{key}.new", OTHER),
        "replace": lambda: put(client, bucket, key, OTHER),
        "delete": lambda: client.remove_object(**location),
    }
    permitted = {name for name, action in actions.items() if is_allowed(action)}
    assert permitted == RIGHTS[user].get(path, set())


@pytest.mark.parametrize("user", RIGHTS)
def test_no_user_can_administer_the_server_or_itself(storage: Storage, user: str) -> None:
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


def is_allowed(action: Callable[[], object]) -> bool:
    try:
        action()
    except S3Error as error:
        if error.code not in REJECTIONS:
            raise
        return False
    return True
