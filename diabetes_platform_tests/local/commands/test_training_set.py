"""`diabetes training-set`: what it shows of a past training set, and writes of it."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from diabetes_platform.contract.tables import TRAINING_SET
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.labels import update_labels
from diabetes_platform.local.commands.training_set import show_training_set
from diabetes_platform.local.errors import FailedError, PlatformError
from diabetes_platform.local.timestamps import parse_timestamp
from diabetes_platform.modelling.training_set import training_set_from_arrow
from diabetes_platform.modelling.training_set_snapshot import LABELS_VERSION, RAW_HASH, ROWS_HASH
from diabetes_platform_tests.intakes import changed, stream
from diabetes_platform_tests.modelling.patients import pima_table

RAW = "a" * 64


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A training set that was written with labels of the stream."""
    made = Lake(str(tmp_path / "lake"))
    stream(made, changed(1, 10, outcome=1))
    told = {RAW_HASH: RAW, LABELS_VERSION: str(update_labels(made).version)}
    rows_hash = training_set_from_arrow(pima_table()).content_hash
    made.snapshot(TRAINING_SET, pima_table(), "any", {ROWS_HASH: rows_hash, **told})
    return made


def shown(lake: Lake, at: datetime, output: Path | None = None) -> str:
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as capture:
        show_training_set(lake, console, at, output)
    return capture.get()


def test_versions_hashes_and_sources_are_shown(lake: Lake) -> None:
    text = shown(lake, datetime.now(UTC) + timedelta(seconds=1))
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


def test_its_rows_are_written_for_their_owner_only(lake: Lake, tmp_path: Path) -> None:
    output = tmp_path / "rows.parquet"
    shown(lake, datetime.now(UTC) + timedelta(seconds=1), output)
    assert pq.read_table(output).equals(pima_table())
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_told(lake: Lake, tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "rows.parquet"
    with pytest.raises(PlatformError, match=r"rows.parquet: cannot be written \(No such file"):
        shown(lake, datetime.now(UTC) + timedelta(seconds=1), absent)


def test_before_the_first_there_was_none(lake: Lake) -> None:
    with pytest.raises(FailedError, match="or later"):
        shown(lake, datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01T00:00:00Z", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T02:00+02:00", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_has_a_zone(text: str, moment: datetime) -> None:
    assert parse_timestamp(text) == moment


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T00:00:00", "yesterday", ""])
def test_a_moment_without_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a timestamp with a time zone, for example"):
        parse_timestamp(text)


def test_without_a_moment_it_is_now() -> None:
    assert abs(datetime.now(UTC) - parse_timestamp(None)) < timedelta(seconds=1)
