"""Apache Spark's Connect server: one clear line where it cannot start."""

import os
from pathlib import Path

import pytest

from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.spark_server import SparkConnectServer, SparkInstallation


def test_a_server_that_is_not_installed_says_so(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=f"no jars in {tmp_path}"):
        SparkConnectServer(SparkInstallation(tmp_path), os.environ).start()


def test_a_server_that_cannot_start_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    submit = tmp_path / "venvs/spark/lib/python3.11/site-packages/pyspark/bin/spark-submit"
    submit.parent.mkdir(parents=True)
    submit.write_text("#!/bin/sh\necho 'no room for the heap'\nexit 3\n", encoding="utf-8")
    submit.chmod(0o755)
    jar = tmp_path / "jars" / "spark" / "delta.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    server = SparkConnectServer(SparkInstallation(tmp_path), os.environ)
    with pytest.raises(LauncherError, match="ended with code 3: no room for the heap"):
        server.start()
    assert server.pid is None
