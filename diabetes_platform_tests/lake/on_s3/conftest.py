"""The platform's lake on its real S3 endpoint, one of a test's own in it, and what to bring."""

import dataclasses
from uuid import uuid4

import pytest

from diabetes_platform.lake.delta import Lake
from diabetes_platform_tests.samples import CSV_HEADER
from diabetes_platform_tests.storage import Storage

HEADER = CSV_HEADER


@pytest.fixture
def lake(storage: Storage) -> Lake:
    """The platform's own lake, as the pipeline reaches it."""
    return Lake("s3://lake", storage.s3("pipeline"))


@pytest.fixture
def elsewhere(lake: Lake) -> Lake:
    """A lake of the test's own below a prefix where every object is written once."""
    return dataclasses.replace(lake, root=f"s3://lake/raw/{uuid4().hex}")


def unique(rows: int = 1) -> str:
    """A source whose content no other test brings."""
    return f"{HEADER}\n" + f"{uuid4().int},148,72,35,0,33.6,0.627,50,1\n" * rows
