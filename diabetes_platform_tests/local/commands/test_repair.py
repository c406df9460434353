"""`diabetes repair` on a warehouse whose patients get an answer, or none."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from threading import Timer

import psycopg
import pytest
from rich.console import Console

from diabetes_platform.contract.topics import SINK_TOPIC
from diabetes_platform.errors import FailedError, PlatformError
from diabetes_platform.lake.delta import Lake
from diabetes_platform.lake.incremental_table import OffsetRange
from diabetes_platform.local.commands import repair as module
from diabetes_platform.local.commands.repair import repair, repair_patients
from diabetes_platform.settings import PlatformSettings
from diabetes_platform.streaming import tombstones
from diabetes_platform.streaming.topic import open_topic
from diabetes_platform.warehouse.intake import deleted_patients, emission_text
from diabetes_platform.warehouse.migrate import upgrade
from diabetes_platform_tests.capture import Kafka
from diabetes_platform_tests.lake.test_rejected_patients import append_rejections
from diabetes_platform_tests.warehouse.test_intake import (
    HOUR,
    MINUTE,
    answer,
    receive,
    record_outcome,
    store_as_before_migration_0006,
)

ANSWER_UPDATES = """
CREATE FUNCTION answer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO serving.predictions (intake_id, source_lsn, model_version, probability, result,
        contributions, changed_at, captured_at, consumed_at, scored_at, judged_at)
    VALUES (NEW.id, 7, 'a', 0.5, 'Normal', '{}', now(), now(), now(), now(), now());
    RETURN NEW;
END $$;
CREATE TRIGGER answer AFTER UPDATE ON public.diabetes_new FOR EACH ROW EXECUTE FUNCTION answer();
"""


def repaired(
    url: str,
    seconds: float,
    servers: str = "127.0.0.1:1",
    lake: Path = Path("/none"),
    *,
    every_patient: bool = False,
    console: Console | None = None,
) -> str:
    console = console or Console(file=StringIO(), width=160)
    repair_patients(
        url,
        servers,
        Lake(str(lake)),
        console,
        every_patient=every_patient,
        age=MINUTE,
        seconds=seconds,
    )
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


@pytest.mark.integration
def test_emits_waiting_patients_and_waits_for_their_answers(database_url: str) -> None:
    upgrade(database_url)
    first, *_ = receive(database_url, HOUR, HOUR, HOUR, timedelta(0))
    answer(database_url, first, HOUR - MINUTE)
    with psycopg.connect(database_url) as connection:
        # In place of the stream.
        connection.execute(ANSWER_UPDATES)
    output = repaired(database_url, 10.0)
    assert output.splitlines() == ["2 patients emitted again", "every patient has an answer"]
    assert repaired(database_url, 0.0).splitlines() == ["every patient has an answer"]


@pytest.mark.integration
def test_sends_tombstones_for_deleted_patients_who_still_have_predictions(
    database_url: str, kafka: Kafka
) -> None:
    upgrade(database_url)
    (kept,) = receive(database_url, HOUR)
    for patient in (kept, 4711):
        answer(database_url, patient, MINUTE)
    assert deleted_patients(database_url, 10) == [4711]
    output = repaired(database_url, 1.0, kafka.bootstrap_servers)
    assert output.splitlines()[0] == "1 deletions emitted again"
    with open_topic(SINK_TOPIC, kafka.bootstrap_servers) as topic:
        ends = {p: (low, high) for p, (low, high) in topic.watermarks().items() if high > low}
        messages = [
            message
            for partition, (low, high) in ends.items()
            for message in topic.read(topic.topic_id(), OffsetRange(partition, low, high - 1))
        ]
    assert (b'{"id":4711}', None) in [(message.key, message.value) for message in messages]


@pytest.mark.integration
def test_counts_rejected_patients_and_emits_them_only_if_they_changed(
    database_url: str, tmp_path: Path
) -> None:
    upgrade(database_url)
    lost, rejected, corrected = receive(database_url, HOUR, HOUR, HOUR)
    now = datetime.now(UTC)
    keys = {patient: b'{"id":%d}' % patient for patient in (rejected, corrected)}
    append_rejections(Lake(str(tmp_path)), *((key, now, now - HOUR / 2) for key in keys.values()))
    record_outcome(database_url, corrected, 2 * MINUTE)
    with psycopg.connect(database_url) as connection:
        connection.execute(ANSWER_UPDATES)
    assert repaired(database_url, 10.0, lake=tmp_path).splitlines() == [
        "2 patients emitted again",
        "1 patients were rejected by the stream: see stream/rejected",
        "every other patient has an answer",
    ]
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT DISTINCT intake_id FROM serving.predictions").fetchall()
    assert sorted(rows) == [(lost,), (corrected,)]


@pytest.mark.integration
def test_a_patient_who_is_rejected_during_the_repair_has_an_answer(
    database_url: str, tmp_path: Path
) -> None:
    upgrade(database_url)
    (patient,) = receive(database_url, HOUR)
    lake = Lake(str(tmp_path))

    def reject() -> None:
        now = datetime.now(UTC)
        append_rejections(lake, (b'{"id":%d}' % patient, now, now))

    # In place of the stream.
    timer = Timer(1.5, reject)
    timer.start()
    output = repaired(database_url, 20.0, lake=tmp_path)
    timer.join()
    assert output.splitlines() == [
        "1 patients emitted again",
        "1 patients were rejected by the stream: see stream/rejected",
        "every other patient has an answer",
    ]


@pytest.mark.integration
def test_a_patient_who_never_gets_an_answer_does_not_end_the_repair(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_PATIENTS", 2)
    upgrade(database_url)
    stuck, *_ = receive(database_url, *[HOUR] * 5)
    with psycopg.connect(database_url) as connection:
        answers = ANSWER_UPDATES.replace("FOR EACH ROW", f"FOR EACH ROW WHEN (NEW.id <> {stuck})")
        connection.execute(answers.encode())
    console = Console(file=StringIO(), width=120)
    with pytest.raises(FailedError, match=rf"^1 patients still have .* first one is {stuck}:"):
        repaired(database_url, 0.5, console=console)
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue().splitlines() == [
        f"{count} patients emitted again" for count in (2, 4, 5)
    ]


@pytest.mark.integration
def test_emits_all_patients_in_batches(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_PATIENTS", 2)
    upgrade(database_url)
    patients = receive(database_url, *[HOUR] * 3)
    for patient in patients:
        answer(database_url, patient, MINUTE)
    assert repaired(database_url, 0.5).splitlines() == ["every patient has an answer"]
    assert repaired(database_url, 0.5, every_patient=True).splitlines() == [
        "2 patients emitted again",
        "3 patients emitted again",
        "every patient has an answer",
    ]


@pytest.mark.integration
def test_names_the_old_patients_that_it_skips(database_url: str) -> None:
    upgrade(database_url)
    _, old = receive(database_url, HOUR, HOUR)
    store_as_before_migration_0006(database_url, old, "received_at", "infinity")
    with psycopg.connect(database_url) as connection:
        connection.execute(ANSWER_UPDATES)
    assert repaired(database_url, 10.0, every_patient=True).splitlines() == [
        emission_text(1, skipped=1),
        "every patient has an answer",
    ]


@pytest.mark.integration
def test_sends_all_deletions_in_batches_and_before_the_patients(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_PATIENTS", 2)
    sent: list[int] = []
    monkeypatch.setattr(tombstones, "send_tombstones", lambda _, ids: sent.extend(ids))
    upgrade(database_url)
    receive(database_url, HOUR)
    for deleted in range(4711, 4716):
        answer(database_url, deleted, MINUTE)
    with pytest.raises(FailedError, match="1 patients still have no answer"):
        repaired(database_url, 0.1)
    assert sent == list(range(4711, 4716))


@pytest.mark.integration
def test_fails_if_the_stream_gives_no_answer(database_url: str) -> None:
    upgrade(database_url)
    first, *_ = receive(database_url, HOUR, HOUR)
    with pytest.raises(FailedError, match=rf"2 patients still have no .* first one is {first}:"):
        repaired(database_url, 0.1)


def test_a_warehouse_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(PlatformError, match="the warehouse: ") as error:
        repaired("postgresql://nobody@127.0.0.1:1/diabetes", 0.1)
    assert "\n" not in str(error.value)


def test_a_damaged_lake_is_one_line(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    append_rejections(Lake(str(tmp_path)), (b'{"id":1}', now, now))
    (entry,) = tmp_path.rglob("00000000000000000000.json")
    entry.write_text('{"protocol":')
    with pytest.raises(PlatformError, match="stream/rejected: its Delta log") as error:
        repaired("postgresql://nobody@127.0.0.1:1/diabetes", 0.1, lake=tmp_path)
    assert "\n" not in str(error.value)


def test_needs_a_running_platform(settings: PlatformSettings) -> None:
    with pytest.raises(PlatformError, match="start it with `make up`"):
        repair(settings, Console(file=StringIO()))
