"""`diabetes training-set`: the table it shows and the file it writes."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.local.commands.training_set import show_training_set
from diabetes_platform.local.timestamps import parse_timestamp
from diabetes_platform.modelling.training_set import training_set_from_arrow
from diabetes_platform.modelling.training_set_snapshot import LABELS_VERSION, RAW_HASH, ROWS_HASH
from diabetes_platform_tests.intakes import changed, stream
from diabetes_platform_tests.modelling.patients import pima_table

RAW = "a" * 64


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A training set that was written with labels of the stream."""
    lake = Lake(str(tmp_path / "lake"))
    stream(lake, changed(1, 10, outcome=1))
    metadata = {RAW_HASH: RAW, LABELS_VERSION: str(update_labels(lake).version)}
    rows_hash = training_set_from_arrow(pima_table()).content_hash
    lake.snapshot(TRAINING_SET, pima_table(), "any", {ROWS_HASH: rows_hash, **metadata})
    return lake


def output_of(lake: Lake, at: datetime, output: Path | None = None) -> str:
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as capture:
        show_training_set(lake, console, at, output)
    return capture.get()


def test_shows_versions_hashes_and_sources(lake: Lake) -> None:
    text = output_of(lake, datetime.now(UTC) + timedelta(seconds=1))
    facts = {
        parts[0].strip(): parts[1].strip()
        for line in text.splitlines()
        if len(parts := line.strip("│┃ ").split("│")) == 2
    }
    version = lake.table(TRAINING_SET).version()
    assert facts["version"] == str(version) == "0"
    assert facts["rows"] == facts["of pima.csv"] == "768"
    assert facts["content hash"] == training_set_from_arrow(pima_table()).content_hash
    assert facts["raw/patients: content hash"] == RAW
    assert facts["labels/patients: version"] == "0"
    assert facts["stream/patients: version"] == "1"


def test_only_the_owner_may_read_the_written_rows(lake: Lake, tmp_path: Path) -> None:
    output = tmp_path / "rows.parquet"
    output_of(lake, datetime.now(UTC) + timedelta(seconds=1), output)
    assert pq.read_table(output).equals(pima_table())
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_reports_a_file_that_cannot_be_written(lake: Lake, tmp_path: Path) -> None:
    missing = tmp_path / "absent" / "rows.parquet"
    with pytest.raises(PlatformError, match=r"rows.parquet: cannot be written \(No such file"):
        output_of(lake, datetime.now(UTC) + timedelta(seconds=1), missing)


def test_fails_for_a_time_before_the_first_training_set(lake: Lake) -> None:
    with pytest.raises(FailedError, match="or later"):
        output_of(lake, datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "timestamp"),
    [
        ("2026-11-01T00:00:00Z", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T02:00+02:00", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_parses_a_timestamp_with_time_zone(text: str, timestamp: datetime) -> None:
    assert parse_timestamp(text) == timestamp


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T00:00:00", "yesterday", ""])
def test_rejects_a_timestamp_without_time_zone(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a timestamp with a time zone, for example"):
        parse_timestamp(text)


def test_the_default_timestamp_is_now() -> None:
    assert abs(datetime.now(UTC) - parse_timestamp(None)) < timedelta(seconds=1)
