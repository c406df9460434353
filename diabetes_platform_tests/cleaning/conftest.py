"""One Sail session and one real Apache Spark Connect server for all tests of cleaning."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.launcher.install.everything import install, spark_alone
from diabetes_platform.launcher.spark_server import SparkConnectServer
from diabetes_platform.settings import PlatformSettings


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A session on Sail, in this process."""
    with spark_session() as session:
        yield session


@pytest.fixture(scope="session")
def apache_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session on Apache Spark, installed once below the platform's home."""
    home = PlatformSettings().home.absolute()
    install(spark_alone(), home, os.environ, print)
    state = tmp_path_factory.mktemp("spark-connect")
    with (
        SparkConnectServer(home, os.environ, state=state) as server,
        spark_session(server.remote) as session,
    ):
        yield session


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The root of Delta tables that only this test uses."""
    return tmp_path / "lake"
