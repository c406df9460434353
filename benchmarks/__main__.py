"""`make bench`: the batch path and the prediction API, or one of them with its own options."""

import subprocess
import sys

from benchmarks.batch import run as batch
from diabetes_platform.launcher.errors import LauncherError
from diabetes_platform.launcher.layout import Layout
from diabetes_platform.settings import PROJECT_ROOT, PlatformSettings


def main() -> None:
    """Run `batch [options]`, `serving`, or both."""
    name, *options = sys.argv[1:] or ["all"]
    if name not in {"all", "batch", "serving"}:
        raise SystemExit(f"given {name!r}, allowed batch [options], serving or nothing for both")
    if name in {"all", "batch"}:
        try:
            batch.main(options)
        except LauncherError as error:
            raise SystemExit(str(error)) from error
    if name in {"all", "serving"}:
        # In the API's own environment, which is what it is served from.
        python = str(Layout.of(PlatformSettings()).serving_python)
        command = [python, "-m", "benchmarks.serving.predict"]
        raise SystemExit(subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
