"""Warms a Spark server that has just started: the Pima data through the jobs of a batch.

`python -m diabetes_platform.local.spark.warm_up --port PORT --directory DIR`. The server loads its
classes and compiles its planner in the first batch, which takes several times as long as the next
one. The tables are in a temporary directory below DIR, on the server's machine: its working
directory, which is emptied at the next start if this process is killed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from diabetes_platform.cleaning.session import spark_session
from diabetes_platform.cleaning.spark_jobs import CleanResult, clean_batch, fit_statistics
from diabetes_platform.contract.tables import CLEANED_PATIENTS, RAW_PATIENTS, STATISTICS_PATIENTS
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.raw import ingest
from diabetes_platform.local.ports import HOST, listens
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PIMA_CSV

START_SECONDS = 300.0
BATCHES = 2


def warm_up(remote: str | None, directory: Path) -> CleanResult:
    """Clean the same batch several times on `remote`, None for Sail; return the last result."""
    with TemporaryDirectory(prefix="spark-warm-up-", dir=directory) as folder:
        lake = Lake(folder)
        content_hash = ingest(lake, str(PIMA_CSV)).content_hash
        raw, statistics, cleaned = map(
            lake.table, (RAW_PATIENTS, STATISTICS_PATIENTS, CLEANED_PATIENTS)
        )
        for _ in range(BATCHES):
            with spark_session(remote) as session:
                fit_statistics(session, raw, content_hash, statistics)
            with spark_session(remote) as session:
                result = clean_batch(session, raw, content_hash, statistics, cleaned)
        return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Wait until the server listens, and warm it."""
    parser = argparse.ArgumentParser(prog="spark.warm_up")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args(arguments)
    wait_until(lambda: listens(options.port), timeout=START_SECONDS)
    warm_up(f"sc://{HOST}:{options.port}", options.directory)


if __name__ == "__main__":
    main()
