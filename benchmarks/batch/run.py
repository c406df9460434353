"""The batch path on Sail and Apache Spark against one straight script, in turns.

`python -m benchmarks.batch.run [--rows N …] [--engines sail spark script]` prints Markdown. Ten
million rows need 20 GB of disk below `PLATFORM_HOME` and ten to twenty minutes.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.batch import report
from benchmarks.batch.databases import new_server
from benchmarks.batch.generate import SEED, write_patients
from benchmarks.batch.measure import ENGINES, SPARK, Laboratory, Measurement
from benchmarks.batch.results import require_equal
from benchmarks.scratch import scratch_directory
from diabetes_platform.local.install.plan import install
from diabetes_platform.local.spark.service import SERVICE as SPARK_SERVICE
from diabetes_platform.settings import PlatformSettings, inherited_environment

ROWS = (768, 1_000_000, 10_000_000)
_FEW_ROUNDS_FROM = 5_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    settings = PlatformSettings()
    home = settings.home.absolute()
    if SPARK in options.engines:
        install(SPARK_SERVICE.install_plan(), home, inherited_environment(), print)
    with scratch_directory(home) as directory:
        # Root's server runs as another user, who must get to its data directory.
        directory.chmod(0o711)
        with new_server(directory) as server:
            laboratory = Laboratory(server, directory, options.spark_memory)
            everything = [
                measurement
                for rows in options.rows
                for measurement in _measure_size(laboratory, rows, options.engines, options.rounds)
            ]
    print(report.machine(everything))


def _measure_size(
    laboratory: Laboratory, rows: int, engines: Sequence[str], rounds: int | None
) -> list[Measurement]:
    source = laboratory.directory / "patients.csv"
    write_patients(source, rows, SEED)
    measured: list[Measurement] = []
    for turn in range(rounds or (1 if rows >= _FEW_ROUNDS_FROM else 3)):
        # There and back, so that a machine that grows slower is unfair to all alike.
        for engine in engines if turn % 2 == 0 else engines[::-1]:
            measurement = laboratory.measure(engine, source)
            require_equal(engine, measurement.results, (measured or [measurement])[0].results)
            measured.append(measurement)
            seconds = (
                f"cold {measurement.cold.seconds:.2f} s, warm {measurement.warm.seconds:.2f} s"
            )
            print(f"{rows:,} rows, round {turn + 1}, {engine}: {seconds}", file=sys.stderr)
    print(f"\n{report.totals(rows, measured)}\n\n{report.steps(measured)}\n", flush=True)
    return measured


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="batch", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, help="by default 3, above 5 million rows 1")
    parser.add_argument("--spark-memory", default="2g", help="heap of Spark's server")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
