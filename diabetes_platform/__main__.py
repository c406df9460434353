"""The entry point of `diabetes`; Ctrl-C during its imports prints one line, too."""

import signal
import sys


def main() -> None:
    """Run the command line; exit with 130 after Ctrl-C, as a shell does."""
    try:
        from diabetes_platform.cli import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
