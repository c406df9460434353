"""`make bench`: the batch path and the prediction API, or one of them with its own options."""

import sys

from benchmarks.batch import run as batch
from benchmarks.serving import predict as serving


def main() -> None:
    """Run `batch [options]`, `serving`, or both."""
    name, *options = sys.argv[1:] or ["all"]
    if name not in {"all", "batch", "serving"}:
        raise SystemExit(f"given {name!r}, allowed batch [options], serving or nothing for both")
    if name in {"all", "batch"}:
        batch.main(options)
    if name in {"all", "serving"}:
        serving.main()


if __name__ == "__main__":
    main()
