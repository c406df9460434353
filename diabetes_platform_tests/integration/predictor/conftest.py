"""A broker and a database that a test may stop, and predictors on them."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from diabetes_platform.local.ports import free_port
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.polling import wait_until
from diabetes_platform_tests.capture import Kafka, own_kafka, running
from diabetes_platform_tests.predictors import (
    Predictions,
    Predictor,
    PredictorFactory,
)
from diabetes_platform_tests.provisioned import CAPTURE, ProvisionedServer, provision
from serving.tests.bundles import make_bundle, release

FIRST_IDS = count(1_000_000, 1_000)
"""Each test has a thousand patient ids of its own."""


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker that a test may stop."""
    with own_kafka(tmp_path_factory.mktemp("predictor-kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="package")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedServer]:
    """A database that a test may stop."""
    data_dir = tmp_path_factory.mktemp("predictor-postgres") / "data"
    with Postgres(data_dir, free_port(), "a password of the test", settings=CAPTURE) as server:
        yield provision(server)


@pytest.fixture
def predictions(database: ProvisionedServer) -> Predictions:
    return Predictions(database.url("migrator"))


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with a champion."""
    store = tmp_path_factory.mktemp("models")
    release(store, *make_bundle())
    return store


@pytest.fixture
def create_predictor(
    broker: Kafka, database: ProvisionedServer, models: Path, tmp_path: Path
) -> PredictorFactory:
    return PredictorFactory(broker, database, models, tmp_path)


@pytest.fixture
def predictor(create_predictor: PredictorFactory) -> Iterator[Predictor]:
    """A predictor that is ready."""
    started = create_predictor()
    with running(started):
        wait_until(started.works, timeout=60)
        yield started


@pytest.fixture
def first() -> int:
    """The first of this test's patient ids."""
    return next(FIRST_IDS)
