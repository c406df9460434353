"""Errors of unusable storage and of denied operations: one line each."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from diabetes_platform.contract.s3 import (
    S3,
    PermanentStorageError,
    StorageError,
    StorageUnavailableError,
)
from diabetes_platform.contract.tables import RAW_PATIENTS, TRAINING_SET
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import ingest
from diabetes_platform.lake.source_files import SourceError
from diabetes_platform_tests.lake.conftest import Save
from diabetes_platform_tests.lake.on_s3.conftest import unique
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = pytest.mark.integration


def stranger(s3: S3) -> S3:
    return dataclasses.replace(s3, user="nobody")


def wrong_secret(s3: S3) -> S3:
    return dataclasses.replace(s3, secret="T0SECRET")


def half_a_credential(s3: S3) -> S3:
    return dataclasses.replace(s3, secret=None)


def nobody_there(s3: S3) -> S3:
    return dataclasses.replace(s3, endpoint="http://127.0.0.1:9")


def itself(s3: S3) -> S3:
    return s3


REFUSALS: list[tuple[Callable[[S3], S3], str, type[StorageError], str]] = [
    (
        stranger,
        "s3://lake",
        PermanentStorageError,
        "user nobody does not exist: check AWS_",
    ),
    (wrong_secret, "s3://lake", PermanentStorageError, "not that of user pipeline"),
    (half_a_credential, "s3://lake", PermanentStorageError, "is set without the other"),
    (itself, "s3://nowhere", PermanentStorageError, "bucket nowhere, or it does not exist"),
    (nobody_there, "s3://lake", StorageUnavailableError, "the endpoint does not answer"),
]


@pytest.mark.parametrize(
    ("change", "root", "kind", "expected"),
    REFUSALS,
    ids=[f"{case[0].__name__} {case[1]}" for case in REFUSALS],
)
def test_reports_unusable_storage_at_once_in_one_line(
    storage: Storage,
    save: Save,
    change: Callable[[S3], S3],
    root: str,
    kind: type[StorageError],
    expected: str,
) -> None:
    lake = Lake(root, change(storage.s3("pipeline")))
    source, table = str(save(unique())), lake.table(RAW_PATIENTS)
    rows = pa.table({"glucose": [148.0]})
    began = time.monotonic()
    for attempt in (
        table.exists,
        table.version,
        lambda: table.create(RAW_PATIENTS),
        lambda: ingest(lake, source),
        lambda: lake.count(RAW_PATIENTS, {}),
        lambda: lake.snapshot(TRAINING_SET, rows, "a"),
        lambda: ingest(Lake(str(Path(source).parent), lake.s3), f"{root}/incoming/a.csv"),
    ):
        with pytest.raises(kind) as raised:
            attempt()
        message = str(raised.value)
        assert message.startswith(root)
        assert f" at {lake.s3.endpoint}: " in message
        assert expected in message
        assert "\n" not in message
        assert "T0SECRET" not in message
        assert storage.passwords["pipeline"] not in message
    assert time.monotonic() - began < 60


def test_names_a_missing_bucket_to_users_with_rights(storage: Storage) -> None:
    lake = Lake("s3://nowhere", storage.s3(ROOT))
    with pytest.raises(
        PermanentStorageError, match=r"bucket nowhere does not exist \(NoSuchBucket\)"
    ):
        lake.table(RAW_PATIENTS).open()


def test_names_a_missing_right(storage: Storage) -> None:
    table = Lake("s3://lake/not-granted", storage.s3("spark")).table(TRAINING_SET)
    with pytest.raises(PermanentStorageError, match="user spark may not do this in bucket lake"):
        table.create(TRAINING_SET)


def test_rejects_a_missing_source(lake: Lake) -> None:
    with pytest.raises(SourceError, match=r"s3://lake/incoming/absent\.csv: cannot be read"):
        ingest(lake, "s3://lake/incoming/absent.csv")
