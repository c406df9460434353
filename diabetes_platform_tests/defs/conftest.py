"""The production definitions on a home and a database of the test."""

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from diabetes_platform.contract.bundle import load_champion
from diabetes_platform.definitions import build_definitions
from diabetes_platform.local.dagster.batch import batch_config
from diabetes_platform.local.postgres.server import Postgres
from diabetes_platform.orchestration.acceptance import Acceptance
from diabetes_platform.settings import PIMA_CSV, PlatformSettings
from diabetes_platform.warehouse.migrate import upgrade

ORIGINAL = "original"


@dataclass
class Platform:
    """The code location with one Dagster instance; `run` executes the whole batch job."""

    settings: PlatformSettings
    instance: dg.DagsterInstance

    def run(
        self, source: Path = PIMA_CSV, acceptance: Acceptance | None = None, **changes: object
    ) -> dg.ExecuteInProcessResult:
        settings = self.settings.model_copy(update=changes)
        defs = build_definitions(lambda: settings)
        return defs.resolve_job_def("batch").execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=batch_config(str(source), acceptance),
        )

    def run_only(self, *keys: str) -> dg.ExecuteInProcessResult:
        """Materialize these assets, with their checks, in a run of their own."""
        selection = [dg.AssetKey(key.split("/")) for key in keys]
        job = build_definitions(lambda: self.settings).resolve_job_def("batch")
        return job.execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=selection
        )

    @property
    def url(self) -> str:
        assert self.settings.warehouse_url is not None
        return self.settings.warehouse_url.get_secret_value()

    def served(self) -> list[tuple[str, int]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(
                "SELECT batch_id, count(*) FROM serving.patients GROUP BY batch_id"
            ).fetchall()

    def champion(self) -> str:
        pointer = Path(self.settings.models) / "diabetes" / "champion.json"
        return load_champion(pointer.read_bytes()).model_version

    def forget_staging(self) -> None:
        """Record a load of another batch, so that the current one must be loaded again."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO staging.batches (batch_id, delta_version, rows) VALUES ('none', 0, 0)"
            )

    def metadata(self, key: str) -> dict[str, object]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        return {n: v.value for n, v in event.asset_materialization.metadata.items()}


def settings_of(home: Path, database_url: str) -> PlatformSettings:
    return PlatformSettings.model_validate({"home": home, "warehouse_url": database_url})


@pytest.fixture
def platform(database_url: str, tmp_path: Path) -> Iterator[Platform]:
    """A platform that has run nothing yet."""
    upgrade(database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(settings_of(tmp_path / "home", database_url), instance)


@pytest.fixture(scope="session")
def original(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a platform that has run the batch of the Pima data; it is only copied."""
    directory = tmp_path_factory.mktemp("original")
    url = postgres.create_database(ORIGINAL)
    upgrade(url)
    (directory / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(directory / "dagster")) as instance:
        assert Platform(settings_of(directory / "home", url), instance).run().success
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        # A pool's connection may be left, and nobody copies a database that is in use.
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(ended, (ORIGINAL,))
    return directory


@pytest.fixture
def serving(
    original: Path, postgres: Postgres, database_url: str, tmp_path: Path
) -> Iterator[Platform]:
    """A platform of the test's own that serves what the batch of the Pima data gave."""
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        for statement in ("DROP DATABASE {own}", "CREATE DATABASE {own} TEMPLATE {original}"):
            names = {"own": sql.Identifier(str(name)), "original": sql.Identifier(ORIGINAL)}
            connection.execute(sql.SQL(statement).format(**names))
    copied = shutil.copytree(original, tmp_path / "copied")
    with dg.DagsterInstance.local_temp(str(copied / "dagster")) as instance:
        yield Platform(settings_of(copied / "home", database_url), instance)


@pytest.fixture
def pima_with(tmp_path: Path) -> Callable[..., Path]:
    """Write the Pima data, each row changed by a function, to a file of its own."""

    def write(name: str, change: Callable[[dict[str, str], int], dict[str, str] | None]) -> Path:
        with PIMA_CSV.open(newline="") as file:
            rows = list(csv.DictReader(file))
        changed = [
            row for n, original in enumerate(rows) if (row := change(original, n)) is not None
        ]
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(changed)
        return path

    return write
