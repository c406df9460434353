"""The production wiring on a home and a database of the test's own."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from diabetes_platform.contract.bundle import load_champion
from diabetes_platform.definitions import build_definitions
from diabetes_platform.settings import PIMA_CSV, PlatformSettings
from diabetes_platform.warehouse.migrate import upgrade


@dataclass
class Platform:
    """The code location with one Dagster instance; `run` executes the whole batch job."""

    settings: PlatformSettings
    instance: dg.DagsterInstance

    def run(self, source: Path = PIMA_CSV, **changes: object) -> dg.ExecuteInProcessResult:
        settings = self.settings.model_copy(update=changes)
        defs = build_definitions(lambda: settings)
        return defs.resolve_job_def("batch").execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {"raw__patients": {"config": {"source": str(source)}}}},
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
        """Make the newest load of staging another batch's, so that it must be loaded again."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO staging.batches (batch_id, delta_version, rows) VALUES ('none', 0, 0)"
            )

    def metadata(self, key: str) -> dict[str, object]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        return {n: v.value for n, v in event.asset_materialization.metadata.items()}


@pytest.fixture
def platform(database_url: str, tmp_path: Path) -> Iterator[Platform]:
    upgrade(database_url)
    settings = PlatformSettings.model_validate(
        {"home": tmp_path / "home", "warehouse_url": database_url}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(settings, instance)


@pytest.fixture
def pima_with(tmp_path: Path) -> Callable[..., Path]:
    """Write the Pima data, each row changed by a function, to a file of its own."""

    def write(name: str, change: Callable[[dict[str, str], int], dict[str, str] | None]) -> Path:
        with PIMA_CSV.open(newline="") as file:
            rows = list(csv.DictReader(file))
        changed = [row for n, given in enumerate(rows) if (row := change(given, n)) is not None]
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(changed)
        return path

    return write
