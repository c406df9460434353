"""A Sail session for each module of tests, and the platform's real Apache Spark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.local.stack import Stack


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """A session on Sail, in this process."""
    with spark_session() as session:
        yield session


@pytest.fixture(scope="module")
def apache_spark(stack: Stack) -> Iterator[SparkSession]:
    """A session on the platform's Apache Spark."""
    with spark_session(stack.settings.spark_remote) as session:
        yield session


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The root of Delta tables that only this test uses."""
    return tmp_path / "lake"
