"""The table of the maintenance benchmark, and the steps with deltalake."""

from contextlib import contextmanager
from pathlib import Path

from deltalake import DeltaTable

from benchmarks.maintenance.run import create_table, deltalake_steps

FILES, ROWS = 20, 2_000


def test_merge_inserts_new_ids_and_the_files_become_one(tmp_path: Path) -> None:
    path = tmp_path / "table"
    create_table(path, FILES, ROWS)
    assert len(DeltaTable(str(path)).file_uris()) == FILES

    with contextmanager(deltalake_steps)(path) as steps:
        for step in steps.values():
            step()

    table = DeltaTable(str(path))
    assert table.count() == ROWS + 500
    assert len(table.file_uris()) == len(list(path.glob("*.parquet"))) == 1
