"""The command `diabetes`: what interrupts it while it is still read is told in one line too."""

import signal
import sys


def main() -> None:
    """Run the command line; after Ctrl-C exit as a shell would say it."""
    try:
        from diabetes_platform.cli import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
