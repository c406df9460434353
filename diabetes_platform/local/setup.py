"""A set-up of one service as a process of its own, for example
`python -m diabetes_platform.local.minio.setup`.

Each may be done again at any time. Exit code 1, with one line, where it cannot be done.
"""

import sys
from collections.abc import Callable, Mapping

from pydantic import SecretStr

from diabetes_platform.local.errors import USER_ERRORS
from diabetes_platform.settings import PlatformSettings, SetupSettings


def run_setup(setup: Callable[[PlatformSettings, SetupSettings], str]) -> int:
    """Do the set-up, and say what was done; returns the exit code."""
    try:
        done = setup(PlatformSettings(), SetupSettings())
    except USER_ERRORS as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor keeps it as the log
        return 1
    print(done)  # noqa: T201
    return 0


def plain_passwords(passwords: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return the passwords as text."""
    return {name: password.get_secret_value() for name, password in passwords.items()}
