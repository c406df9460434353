"""Dagster resources: settings, lake, warehouse, Spark and model store.

A resource is created when a step needs it: loading the code location reads no environment.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from diabetes_platform.cleaning.session import session_config, stopped_at_end
from diabetes_platform.contract.s3 import S3
from diabetes_platform.lake.delta import Lake
from diabetes_platform.modelling.store import ModelStore
from diabetes_platform.settings import PlatformSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LoadSettings = Callable[[], PlatformSettings]


@dataclass(frozen=True)
class Warehouse:
    """The warehouse's connection URLs, kept out of logs and representations.

    `url` logs in as `pipeline`, which may not read predictions; `reader_url` may read everything.
    """

    url: str = field(repr=False)
    reader_url: str = field(repr=False)


@dataclass(frozen=True)
class Spark:
    """The Spark engine: a Connect URL of one machine or of a cluster, None for Sail.

    Batches with fewer than `min_rows` rows are cleaned by Sail in this process. Both engines give
    the same rows, and Apache Spark takes longer to plan a small batch than Sail to clean it.
    """

    remote: str | None
    min_rows: int = 0

    def remote_for(self, rows: int | None) -> str | None:
        """Return the Connect URL for a batch of `rows`, None for Sail.

        A batch whose number of rows is not recorded (None) may be large: it goes to the server.
        """
        return None if rows is not None and rows < self.min_rows else self.remote

    @contextmanager
    def session(self, rows: int | None) -> Iterator["SparkSession"]:
        """Yield a session of dagster-pyspark for `rows` rows; None if nobody counted them.

        A step with unchanged input does not call this. Raises RuntimeError if this process has an
        active session: dagster-pyspark would return it, and it would be stopped at the end.
        """
        # Imported here: with Spark's client it takes longer than loading the code location.
        from dagster_pyspark import LazyPySparkResource
        from pyspark.sql import SparkSession

        if SparkSession.getActiveSession() is not None:
            raise RuntimeError("this process has an active Spark session: stop it first")
        spark = LazyPySparkResource(spark_config=session_config(self.remote_for(rows)))
        with stopped_at_end(spark.spark_session) as session:
            yield session


@dataclass(frozen=True)
class Models:
    """The root of the model store: a directory, or an S3 URL reached by `s3`."""

    url: str
    s3: S3

    def store(self) -> ModelStore:
        """Open the store."""
        return ModelStore(self.url, self.s3)


def build_resources(load: LoadSettings) -> dict[str, dg.ResourceDefinition]:
    """Return the resources by name."""
    return {
        "settings": dg.ResourceDefinition(lambda _: load()),
        "lake": dg.ResourceDefinition(lambda _: _lake(load())),
        "warehouse": dg.ResourceDefinition(lambda _: warehouse_of(load())),
        "spark": dg.ResourceDefinition(lambda _: _spark(load())),
        "models": dg.ResourceDefinition(lambda _: _models(load())),
    }


def _spark(settings: PlatformSettings) -> Spark:
    return Spark(settings.spark_remote, settings.spark_min_rows)


def _lake(settings: PlatformSettings) -> Lake:
    return Lake(settings.lake, settings.s3)


def _models(settings: PlatformSettings) -> Models:
    return Models(settings.models, settings.s3)


def warehouse_of(settings: PlatformSettings) -> Warehouse:
    """Return the URLs of the warehouse; dg.Failure if PLATFORM_WAREHOUSE_URL is not set."""
    if settings.warehouse_url is None:
        raise dg.Failure(
            "PLATFORM_WAREHOUSE_URL is not set; allowed: postgresql://user:password@host/database",
            allow_retries=False,
        )
    reader = settings.reader_url or settings.warehouse_url
    return Warehouse(settings.warehouse_url.get_secret_value(), reader.get_secret_value())
