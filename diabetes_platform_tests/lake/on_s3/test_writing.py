"""The lake on a real S3 endpoint: the same code, each content once, no commit lost."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from diabetes_platform.contract.tables import RAW_PATIENTS, TRAINING_SET
from diabetes_platform.lake.delta import DeltaPath, Lake
from diabetes_platform.lake.raw import RawBatch, ingest
from diabetes_platform_tests.lake.conftest import Save
from diabetes_platform_tests.lake.on_s3.conftest import unique
from diabetes_platform_tests.storage import ROOT, Storage

pytestmark = pytest.mark.integration

WRITERS, COMMITS = 8, 50


def test_ingests_a_source_once(lake: Lake, save: Save) -> None:
    source = str(save(unique(rows=3)))
    first, second = ingest(lake, source), ingest(lake, source)
    assert (first.added, first.rows) == (True, 3)
    assert (second.added, second.rows) == (False, 3)


def test_reads_a_source_on_s3(lake: Lake, storage: Storage) -> None:
    content = unique(rows=2).encode()
    key = f"incoming/{uuid4().hex}.csv"
    storage.client(ROOT).put_object("lake", key, BytesIO(content), len(content))
    batch = ingest(lake, f"s3://lake/{key}")
    assert (batch.source, batch.rows) == (f"s3://lake/{key}", 2)


def test_a_snapshot_of_the_same_content_adds_no_version(elsewhere: Lake) -> None:
    rows = pa.table({"glucose": [148.0]})
    versions = [
        elsewhere.snapshot(TRAINING_SET, rows, content_hash) for content_hash in ("a", "a", "b")
    ]
    assert versions == [(0, True), (0, False), (1, True)]


def test_checkpoints_of_a_table_that_is_written_once_are_replaced(
    elsewhere: Lake, save: Save
) -> None:
    for number in range(1, 4):
        assert ingest(elsewhere, str(save(unique()))).delta_version == number
        elsewhere.table(RAW_PATIENTS).open().create_checkpoint()
    assert elsewhere.table(RAW_PATIENTS).open().to_pyarrow_table().num_rows == 3


def ingest_in_process(lake: Lake, source: str) -> RawBatch:
    return ingest(lake, source)


def test_concurrent_processes_add_the_same_content_once(elsewhere: Lake, tmp_path: Path) -> None:
    sources = []
    for rows in (1, 2, 3):
        sources.append(str(tmp_path / f"{rows}.csv"))
        Path(sources[-1]).write_text(unique(rows))
    with processes(4) as pool:
        batches = list(pool.map(ingest_in_process, [elsewhere] * 12, sources * 4))
    assert sum(batch.added for batch in batches) == 3
    assert [batch.rows for batch in batches] == [1, 2, 3] * 4
    assert elsewhere.table(RAW_PATIENTS).open().to_pyarrow_table().num_rows == 6


def commit_often(table: DeltaPath, writer: int) -> None:
    opened = table.open()
    for number in range(COMMITS):
        rows = pa.table({"writer": [writer], "number": [number]})
        write_deltalake(
            opened,
            rows,
            mode="append",
            commit_properties=CommitProperties(max_commit_retries=WRITERS * COMMITS),
        )


@pytest.mark.slow
def test_concurrent_commits_lose_nothing(lake: Lake) -> None:
    table = DeltaPath(f"s3://lake/features/{uuid4().hex}", lake.s3)
    schema = pa.schema([("writer", pa.int64()), ("number", pa.int64())])
    DeltaTable.create(table.path, schema, storage_options=table.storage_options)

    with processes(WRITERS) as pool:
        list(pool.map(commit_often, [table] * WRITERS, range(WRITERS)))

    written = table.open()
    rows = written.to_pyarrow_table().to_pylist()
    everything = {(writer, number) for writer in range(WRITERS) for number in range(COMMITS)}
    assert len(rows) == len(everything)
    assert {(row["writer"], row["number"]) for row in rows} == everything
    assert written.version() == len(everything)


@contextmanager
def processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that have loaded their libraries before they are forked."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["diabetes_platform.lake.raw"])
    with ProcessPoolExecutor(number, mp_context=context) as pool:
        yield pool
