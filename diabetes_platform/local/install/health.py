"""The health check of the installation: every jar has the SHA-256 in the lock."""

from diabetes_platform.local.health import HealthCheck
from diabetes_platform.local.install.jars import all_faults
from diabetes_platform.local.install.tools import Tools
from diabetes_platform.local.stack import Stack


def jars_are_whole(stack: Stack) -> str:
    """Compare each jar's SHA-256 with the lock; raises with the names of those that differ."""
    faults = all_faults(Tools(stack.layout.tools))
    if faults:
        raise RuntimeError("; ".join(faults))
    return "every jar has the SHA-256 of the lock"


CHECKS = (
    HealthCheck(
        "jars",
        "match the lock",
        jars_are_whole,
        "`make down` and `make up` fetch what is missing or damaged",
        local_only=True,
    ),
)
