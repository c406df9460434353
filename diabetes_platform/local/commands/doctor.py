"""`diabetes doctor`: run every health check, show the results and the remedies."""

from rich.console import Console
from rich.markup import escape

from diabetes_platform.errors import FailedError
from diabetes_platform.local.health import results_table, run_checks
from diabetes_platform.local.services import health_checks
from diabetes_platform.local.stack import Stack, require_running_stack
from diabetes_platform.local.targets import Target, kubernetes_stack
from diabetes_platform.settings import PlatformSettings


def doctor(
    settings: PlatformSettings, console: Console, target: Target = Target.LOCAL, release: str = ""
) -> None:
    """Check every service of the platform; FailedError names those that do not work.

    For a release in Kubernetes this runs in a pod of it, which has the passwords in its home.
    """
    stack = _stack(settings, target, release)
    # A release without the stream has no address of Kafka.
    has_stream = stack.is_local or settings.kafka_servers is not None
    with console.status("checking every service"):
        results = run_checks(stack, health_checks(stack, has_stream=has_stream))
    console.print(results_table(results))
    failed = [result for result in results if result.error is not None]
    for result in failed:
        line = f"{result.check.service}: {result.check.remedy}"
        console.print(escape(line), soft_wrap=True, highlight=False)
    if failed:
        raise FailedError(f"unhealthy: {', '.join(result.check.service for result in failed)}")


def _stack(settings: PlatformSettings, target: Target, release: str) -> Stack:
    if target == Target.LOCAL:
        return require_running_stack(settings)
    return kubernetes_stack(settings, release, storage_url=settings.s3_endpoint)
