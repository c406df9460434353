"""`diabetes repair`: emit patients without an answer and lost deletions again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rich.console import Console

from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.rejected_patients import rejected_patients, rejected_text
from diabetes_platform.local.dagster.environment import enter_stack
from diabetes_platform.local.errors import FailedError, PlatformError
from diabetes_platform.local.stack import running_stack
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.intake import (
    WaitingPatients,
    deleted_patients,
    emit_again,
    waiting_patients,
)

BATCH_PATIENTS = 10_000
_AGE = timedelta(minutes=1)
"""Younger changes are on their way through the stream."""
_SECONDS_PER_BATCH = 120.0


def repair(settings: PlatformSettings, console: Console) -> None:
    """Emit all patients without an answer again, wait for the answers, and emit lost deletions.

    Patients whom the stream has rejected are only counted.

    Raises PlatformError without a running platform, and FailedError if patients still wait.
    """
    stack = running_stack(settings)
    if stack is None:
        raise PlatformError("the platform does not run: start it with `make up`")
    enter_stack(stack)
    settings = PlatformSettings()
    if settings.warehouse_url is None or settings.kafka_servers is None:
        raise PlatformError("PLATFORM_WAREHOUSE_URL or PLATFORM_KAFKA_SERVERS is not set")
    repair_patients(
        settings.warehouse_url.get_secret_value(),
        settings.kafka_servers,
        Lake(settings.lake, settings.s3),
        console,
    )


def repair_patients(
    url: str,
    servers: str,
    lake: Lake,
    console: Console,
    *,
    age: timedelta = _AGE,
    seconds: float = _SECONDS_PER_BATCH,
) -> None:
    """Emit the patients who have waited for `age` again, in batches, and then lost deletions.

    A dead letter in `lake` is an answer. Raises FailedError if a batch has no answers after
    `seconds`, and PlatformError if the database, Kafka at `servers` or the lake does not answer.
    """
    import psycopg
    from confluent_kafka import KafkaException

    from diabetes_platform.streaming.tombstones import send_tombstones

    began, earlier = datetime.now(UTC), dict[int, datetime]()

    def unanswered() -> WaitingPatients:
        rejected = earlier | rejected_patients(lake, since=began)
        return waiting_patients(url, age, BATCH_PATIENTS, rejected)

    try:
        earlier = rejected_patients(lake)
        total = 0
        while ids := (patients := unanswered()).ids:
            total += emit_again(url, ids)
            console.print(f"{total:,} patients emitted again")
            waiting = _wait_for_answers(unanswered, seconds, set(ids))
            if waiting:
                raise FailedError(
                    f"{len(waiting):,} patients still have no answer after {seconds:.0f} s, the "
                    f"first one is {min(waiting)}: `diabetes doctor` tests the stream"
                )
        if deleted := deleted_patients(url, BATCH_PATIENTS):
            send_tombstones(servers, deleted)
            console.print(f"{len(deleted):,} deletions emitted again")
    except psycopg.Error as error:
        raise PlatformError(f"the warehouse: {str(error).splitlines()[0]}") from error
    except (LakeError, StorageError) as error:
        raise PlatformError(str(error)) from error
    except KafkaException as error:
        raise PlatformError(f"Kafka at {servers}: {error.args[0].str()}") from error
    if patients.rejected:
        console.print(rejected_text(patients.rejected))
    console.print(f"every {'other ' if patients.rejected else ''}patient has an answer")


def _wait_for_answers(
    unanswered: Callable[[], WaitingPatients], seconds: float, ids: set[int]
) -> set[int]:
    """Return those of `ids` that still have no answer after `seconds`."""
    waiting = ids

    def answered() -> bool:
        nonlocal waiting
        waiting = ids.intersection(unanswered().ids)
        return not waiting

    try:
        wait_until(answered, timeout=seconds, interval=1.0)
    except TimeoutError:
        return waiting
    return set()
