"""The Spark Connect server of the batch benchmark: clear errors if it cannot start."""

import os
from pathlib import Path

import pytest

from benchmarks.batch.spark_server import SparkConnectServer
from diabetes_platform.errors import PlatformError


def test_reports_missing_jars(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=f"no jars in {tmp_path}"):
        SparkConnectServer(tmp_path, os.environ).start()


def test_reports_why_it_cannot_start_and_leaves_no_process(tmp_path: Path) -> None:
    for name in (
        "venvs/spark/lib/python3.11/site-packages/pyspark/bin/spark-submit",
        "jars/spark/delta.jar",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    server = SparkConnectServer(tmp_path, os.environ)
    with pytest.raises(PlatformError, match=r"ended with code 1: .*SparkSubmit"):
        server.start()
    assert server.pid is None
