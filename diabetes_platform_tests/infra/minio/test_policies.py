"""Each user may do its own work and nothing else, nor administer even itself."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from minio.error import MinioAdminException, S3Error

from diabetes_platform_tests.infra.minio.attempts import FIRST, OTHER, REFUSALS, put
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
