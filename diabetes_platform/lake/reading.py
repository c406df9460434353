"""Any source file as batches of text columns in contract order, whatever its format."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from diabetes_platform.lake.csv_source import read_csv
from diabetes_platform.lake.parquet_source import MAGIC, read_parquet
from diabetes_platform.lake.sources import ALLOWED_HEADER, SourceError


def read_as_text(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `path` as batches of text columns in contract order.

    `name` is what messages call the source. Raises SourceError that names line, column, what was
    given and what is allowed; rows may have been yielded before it.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if not start:
        raise SourceError(
            f"{name}: line 1: given an empty file, allowed the header {ALLOWED_HEADER}"
        )
    yield from read_parquet(path, name) if start == MAGIC else read_csv(path, name)
