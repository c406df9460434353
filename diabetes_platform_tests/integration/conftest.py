"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform_tests.running_dagster import RunningDagster, running_dagster
from diabetes_platform_tests.storage import Storage


@pytest.fixture(scope="module")
def dagster(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, storage: Storage
) -> Iterator[RunningDagster]:
    """A Dagster with a schedule of every minute that is switched off."""
    home = tmp_path_factory.mktemp("dagster")
    cron = {"PLATFORM_BATCH_SCHEDULE": "* * * * *"}
    with running_dagster(home, postgres, storage, **cron) as running:
        yield running
