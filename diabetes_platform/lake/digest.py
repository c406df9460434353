"""A digest of a table's rows: the same for the same values, in whatever order and files."""

import hashlib
from io import RawIOBase
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv

if TYPE_CHECKING:
    from hashlib import _Hash


def content_hash_of(rows: pa.Table, key: str) -> str:
    """Return the SHA-256 of names and values of `rows` as text, in the order of the column `key`.

    `key` has no value twice. Each number is the shortest text that reads as that number again.
    """
    sink = _Digest(hashlib.sha256())
    pa_csv.write_csv(rows.sort_by(key), pa.PythonFile(sink, mode="w"))
    return sink.digest.hexdigest()


class _Digest(RawIOBase):
    """Takes what is written into a hash: no text of a whole table is held."""

    def __init__(self, digest: "_Hash") -> None:
        super().__init__()
        self.digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self.digest.update(view)
        return view.nbytes
