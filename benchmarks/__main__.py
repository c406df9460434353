"""`make bench`: batch path, change data capture, prediction API; or one with its own options.

`stream` and `flink` measure the running platform, `predictor` its own, `increments` a table of its
own or the running platform, `maintenance` tables of its own, `executors` a Spark of its own. They
are run by their names alone.
"""

import subprocess
import sys

from benchmarks.batch import executors
from benchmarks.batch import run as batch
from benchmarks.cdc import run as cdc
from benchmarks.flink import run as flink
from benchmarks.increments import run as increments
from benchmarks.maintenance import run as maintenance
from benchmarks.predictor import run as predictor
from benchmarks.stream import run as stream
from diabetes_platform.errors import USER_ERRORS
from diabetes_platform.local.home import HomeLayout
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings

_WITH_OPTIONS = {
    "batch": batch.main,
    "executors": executors.main,
    "cdc": cdc.main,
    "predictor": predictor.main,
    "stream": stream.main,
    "flink": flink.main,
    "increments": increments.main,
    "maintenance": maintenance.main,
}


def main() -> None:
    """Run the benchmark that the first argument names, by default batch, cdc and serving."""
    name, *options = sys.argv[1:] or ["all"]
    if name not in {"all", "serving", *_WITH_OPTIONS}:
        allowed = (
            f"{', '.join(_WITH_OPTIONS)} [options], serving, or nothing for batch, cdc, serving"
        )
        raise SystemExit(f"unknown benchmark {name!r}; allowed: {allowed}")
    try:
        for benchmark in ("batch", "cdc") if name == "all" else (name,):
            if benchmark in _WITH_OPTIONS:
                _WITH_OPTIONS[benchmark](options)
    except USER_ERRORS as error:
        raise SystemExit(str(error)) from error
    if name in {"all", "serving"}:
        # In the API's own environment, which is what it is served from.
        python = str(HomeLayout.of(PlatformSettings()).serving_python)
        command = [python, "-m", "benchmarks.serving.predict"]
        raise SystemExit(subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
