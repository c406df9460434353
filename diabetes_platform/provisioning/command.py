"""Runs the set-up of a service as a process: `python -m diabetes_platform.provisioning.storage`."""

import sys
from collections.abc import Callable, Mapping

from pydantic import SecretStr

from diabetes_platform.errors import USER_ERRORS
from diabetes_platform.settings import PlatformSettings, SetupSettings


def run_setup(setup: Callable[[PlatformSettings, SetupSettings], str]) -> int:
    """Run an idempotent set-up and print its result; returns the exit code, 1 after an error."""
    try:
        result = setup(PlatformSettings(), SetupSettings())
    except USER_ERRORS as error:
        print(error, file=sys.stderr)  # noqa: T201 - the supervisor keeps it as the log
        return 1
    print(result)  # noqa: T201
    return 0


def plain_passwords(passwords: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return the passwords as text."""
    return {name: password.get_secret_value() for name, password in passwords.items()}
