"""Sessions: on one Sail server per process, in UTC, imported only when asked for."""

import subprocess
import sys

import pytest

from diabetes_platform.cleaning.session import (
    SMALL_BATCH_ROWS,
    sail_url,
    spark_session,
    tune_for_batch,
)


def test_sessions_share_one_warm_sail_server() -> None:
    url = sail_url()
    assert url.startswith("sc://127.0.0.1:")
    with spark_session() as first, spark_session() as second:
        assert first.session_id != second.session_id
    assert sail_url() == url


def test_a_session_is_in_utc_and_leaves_the_server_running() -> None:
    with spark_session() as session:
        assert session.conf.get("spark.sql.session.timeZone") == "UTC"
    with spark_session(sail_url()) as session:
        assert session.range(3).count() == 3


@pytest.mark.parametrize(
    ("rows", "partitions"),
    [(768, "1"), (SMALL_BATCH_ROWS, "1"), (SMALL_BATCH_ROWS + 1, "7"), (None, "7")],
)
def test_tunes_a_session_for_a_small_batch(rows: int | None, partitions: str) -> None:
    with spark_session() as session:
        session.conf.set("spark.sql.shuffle.partitions", "7")
        tune_for_batch(session, rows)
        assert session.conf.get("spark.sql.shuffle.partitions") == partitions


def test_importing_the_jobs_imports_neither_spark_nor_sail() -> None:
    code = (
        "import sys, diabetes_platform.cleaning.spark_jobs, diabetes_platform.cleaning.session;"
        "sys.exit(bool({'pyspark', 'pysail'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
