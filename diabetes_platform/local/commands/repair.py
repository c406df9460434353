"""`diabetes repair`: emit patients without an answer and lost deletions again."""

from datetime import timedelta

from rich.console import Console

from diabetes_platform.local.dagster.environment import enter_stack
from diabetes_platform.local.errors import FailedError, PlatformError
from diabetes_platform.local.stack import running_stack
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings

BATCH_PATIENTS = 10_000
_AGE = timedelta(minutes=1)
"""Younger changes are on their way through the stream."""
_SECONDS_PER_BATCH = 120.0


def repair(settings: PlatformSettings, console: Console) -> None:
    """Emit all patients without an answer again, wait for the answers, and emit lost deletions.

    Raises PlatformError without a running platform, and FailedError if patients still wait.
    """
    stack = running_stack(settings)
    if stack is None:
        raise PlatformError("the platform does not run: start it with `make up`")
    enter_stack(stack)
    settings = PlatformSettings()
    if settings.warehouse_url is None or settings.kafka_servers is None:
        raise PlatformError("PLATFORM_WAREHOUSE_URL or PLATFORM_KAFKA_SERVERS is not set")
    repair_patients(settings.warehouse_url.get_secret_value(), settings.kafka_servers, console)


def repair_patients(
    url: str,
    servers: str,
    console: Console,
    *,
    age: timedelta = _AGE,
    seconds: float = _SECONDS_PER_BATCH,
) -> None:
    """Emit the patients who have waited for `age` again, in batches, and then lost deletions.

    Raises FailedError if a batch has no answers after `seconds`, and PlatformError if the database
    or Kafka at `servers` does not answer.
    """
    import psycopg
    from confluent_kafka import KafkaException

    from diabetes_platform.streaming.tombstones import send_tombstones
    from diabetes_platform.warehouse.intake import deleted_patients, emit_again, waiting_patients

    try:
        total = 0
        while ids := waiting_patients(url, age, BATCH_PATIENTS):
            total += emit_again(url, ids)
            console.print(f"{total:,} patients emitted again")
            waiting = _wait_for_answers(url, age, seconds, set(ids))
            if waiting:
                raise FailedError(
                    f"{len(waiting):,} patients still have no answer after {seconds:.0f} s, the "
                    f"first one is {min(waiting)}: `diabetes doctor` tests the stream, and "
                    "stream/rejected has the patients whom it rejects"
                )
        if deleted := deleted_patients(url, BATCH_PATIENTS):
            send_tombstones(servers, deleted)
            console.print(f"{len(deleted):,} deletions emitted again")
    except psycopg.Error as error:
        raise PlatformError(f"the warehouse: {str(error).splitlines()[0]}") from error
    except KafkaException as error:
        raise PlatformError(f"Kafka at {servers}: {error.args[0].str()}") from error
    console.print("every patient has an answer")


def _wait_for_answers(url: str, age: timedelta, seconds: float, ids: set[int]) -> set[int]:
    """Return those of `ids` that still have no answer after `seconds`."""
    from diabetes_platform.warehouse.intake import waiting_patients

    waiting = ids

    def answered() -> bool:
        nonlocal waiting
        waiting = ids.intersection(waiting_patients(url, age, BATCH_PATIENTS))
        return not waiting

    try:
        wait_until(answered, timeout=seconds, interval=1.0)
    except TimeoutError:
        return waiting
    return set()
