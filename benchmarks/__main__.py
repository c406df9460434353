"""`make bench`: batch path, change data capture, prediction API; or one with its own options.

`stream` and `flink` measure the running platform, `predictor` its own; they are run by their names
alone.
"""

import subprocess
import sys

from benchmarks.batch import run as batch
from benchmarks.cdc import run as cdc
from benchmarks.flink import run as flink
from benchmarks.predictor import run as predictor
from benchmarks.stream import run as stream
from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.layout import Layout
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


def main() -> None:
    """Run what the first argument names with its options, or all but those three."""
    name, *options = sys.argv[1:] or ["all"]
    if name not in {"all", "batch", "cdc", "predictor", "stream", "flink", "serving"}:
        allowed = (
            "batch, cdc, predictor, stream or flink [options], serving, "
            "or nothing for batch, cdc, serving"
        )
        raise SystemExit(f"given {name!r}, allowed {allowed}")
    try:
        if name in {"all", "batch"}:
            batch.main(options)
        if name in {"all", "cdc"}:
            cdc.main(options)
        if name == "predictor":
            predictor.main(options)
        if name == "stream":
            stream.main(options)
        if name == "flink":
            flink.main(options)
    except LauncherError as error:
        raise SystemExit(str(error)) from error
    if name in {"all", "serving"}:
        # In the API's own environment, which is what it is served from.
        python = str(Layout.of(PlatformSettings()).serving_python)
        command = [python, "-m", "benchmarks.serving.predict"]
        raise SystemExit(subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
