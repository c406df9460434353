"""A digest of rows: of their values alone, by name and row."""

import hashlib

import pyarrow as pa
import pytest

from diabetes_platform.lake.arrow import content_hash_of

ROWS = pa.table({"id": [1, 2, 3], "bmi": ["33.6", None, ""], "age": [21.0, 0.1, None]})


def test_the_hash_ignores_order_and_files() -> None:
    turned = pa.concat_tables([ROWS.slice(2), ROWS.slice(0, 1), ROWS.slice(1, 1)])
    assert content_hash_of(turned, "id") == content_hash_of(ROWS, "id")


def test_the_hash_is_stable_across_releases() -> None:
    text = b'"id","bmi","age"\n1,"33.6",21\n2,,0.1\n3,"",\n'
    assert content_hash_of(ROWS, "id") == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bmi", ["33.7", None, ""]),
        ("bmi", ["33.6", "", None]),
        ("bmi", ["33.6", "NULL", ""]),
        ("age", [21.0, 0.1, 0.0]),
        ("age", [21.0, 0.1 + 1e-17, 0.0]),
        ("id", [1, 2, 4]),
    ],
)
def test_another_value_gives_another_hash(name: str, values: list[object]) -> None:
    other = ROWS.set_column(ROWS.column_names.index(name), name, pa.array(values))
    assert content_hash_of(other, "id") != content_hash_of(ROWS, "id")


def test_another_name_gives_another_hash() -> None:
    other = ROWS.rename_columns(["id", "bmi", "years"])
    assert content_hash_of(other, "id") != content_hash_of(ROWS, "id")


def test_an_empty_table_has_a_hash() -> None:
    assert content_hash_of(ROWS.slice(0, 0), "id") != content_hash_of(ROWS, "id")
