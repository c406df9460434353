"""`diabetes repair`: emit lost deletions again, and patients without an answer or all of them."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from rich.console import Console

from diabetes_platform.contract.s3 import StorageError
from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.lake.delta import Lake, LakeError
from diabetes_platform.lake.rejected_patients import rejected_patients, rejected_text
from diabetes_platform.local.dagster.environment import enter_stack
from diabetes_platform.local.stack import running_stack
from diabetes_platform.polling import wait_until
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.warehouse.intake import (
    WAITING_AGE,
    EmittedPatients,
    WaitingPatients,
    deleted_patients,
    emission_text,
    emit_again,
    emit_next,
    waiting_patients,
)

BATCH_PATIENTS = 10_000
_SECONDS_PER_BATCH = 120.0


def repair(settings: PlatformSettings, console: Console, *, every_patient: bool = False) -> None:
    """Emit lost deletions again, and then the patients without an answer, or all of them.

    Patients whom the stream has rejected are only counted, unless all are emitted. Raises
    PlatformError without a running platform, and FailedError if patients still wait.
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
        every_patient=every_patient,
    )


def repair_patients(
    url: str,
    servers: str,
    lake: Lake,
    console: Console,
    *,
    every_patient: bool = False,
    age: timedelta = WAITING_AGE,
    seconds: float = _SECONDS_PER_BATCH,
) -> None:
    """Emit lost deletions again, and the patients who have waited for `age`, or all, in batches.

    A batch has `seconds` for its answers; a dead letter in `lake` is one. Raises FailedError with
    the patients who still wait at the end, and PlatformError if the database, Kafka at `servers` or
    the lake does not answer.
    """
    import psycopg
    from confluent_kafka import KafkaException

    began = datetime.now(UTC)
    earlier: dict[int, datetime] = {}

    def unanswered(after_id: int = 0) -> WaitingPatients:
        rejected = earlier | rejected_patients(lake, since=began)
        return waiting_patients(url, age, BATCH_PATIENTS, rejected, after_id)

    def emit_batch(after_id: int) -> EmittedPatients:
        if every_patient:
            return emit_next(url, after_id, BATCH_PATIENTS)
        ids = unanswered(after_id).ids
        return EmittedPatients(emit_again(url, ids), ids[-1] if ids else None)

    try:
        earlier = rejected_patients(lake)
        _emit_deletions(url, servers, console)
        emitted = skipped = after_id = 0
        while (batch := emit_batch(after_id)).last is not None:
            emitted, skipped = emitted + batch.count, skipped + batch.skipped
            console.print(emission_text(emitted, skipped))
            _wait_for_answers(partial(unanswered, after_id), seconds, batch.last)
            after_id = batch.last
        patients = unanswered()
    except psycopg.Error as error:
        raise PlatformError(f"the warehouse: {str(error).splitlines()[0]}") from error
    except (LakeError, StorageError) as error:
        raise PlatformError(str(error)) from error
    except KafkaException as error:
        raise PlatformError(f"Kafka at {servers}: {error.args[0].str()}") from error
    if patients.rejected:
        console.print(rejected_text(patients.rejected))
    if waiting := patients.ids:
        at_least = "at least " if len(waiting) == BATCH_PATIENTS else ""
        raise FailedError(
            f"{at_least}{len(waiting):,} patients still have no answer after {seconds:.0f} s, the "
            f"first one is {waiting[0]}: `diabetes doctor` tests the stream"
        )
    console.print(f"every {'other ' if patients.rejected else ''}patient has an answer")


def _emit_deletions(url: str, servers: str, console: Console) -> None:
    """Send a tombstone for each deleted patient who still has predictions."""
    from diabetes_platform.streaming.tombstones import send_tombstones

    total = after_id = 0
    while ids := deleted_patients(url, BATCH_PATIENTS, after_id):
        send_tombstones(servers, ids)
        total, after_id = total + len(ids), ids[-1]
        console.print(f"{total:,} deletions emitted again")


def _wait_for_answers(unanswered: Callable[[], WaitingPatients], seconds: float, last: int) -> None:
    """Wait until no patient with an id up to `last` waits, for `seconds` at most."""

    def answered() -> bool:
        ids = unanswered().ids
        return not ids or ids[0] > last

    with suppress(TimeoutError):
        wait_until(answered, timeout=seconds, interval=1.0)
