"""Labels of the stream: the newest confirmed outcome of each patient, and nothing else."""

import random

import pytest

from diabetes_platform.contract.fields import FEATURES, FIELDS, Field
from diabetes_platform.contract.tables import LABELLED_PATIENTS
from diabetes_platform.contract.validation import parse
from diabetes_platform.lake.arrow import row_schema
from diabetes_platform.lake.delta import Lake, commits
from diabetes_platform.lake.labels import STREAM_VERSION, update_labels, waiting_labels
from diabetes_platform_tests.intakes import BEGIN, Row, changed, deleted, stream
from diabetes_platform_tests.samples import EXAMPLE


def outcomes(lake: Lake, version: int | None = None) -> dict[int, str]:
    """The label of each intake, in a version of `labels/patients` or the newest."""
    rows = lake.table(LABELLED_PATIENTS).open(version).to_pyarrow_table()
    return dict(zip(rows["id"].to_pylist(), rows["outcome"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("says", "rows", "labels"),
    [
        ("a confirmed outcome", [changed(1, 10), changed(1, 11, outcome=1)], {1: "1"}),
        ("no outcome yet", [changed(1, 10), changed(2, 11)], {}),
        (
            "changed twice: the newest counts",
            [changed(1, 10, outcome=1), changed(1, 11, outcome=0), changed(1, 12, outcome=1)],
            {1: "1"},
        ),
        ("set right", [changed(1, 10, outcome=1), changed(1, 11, outcome=0)], {1: "0"}),
        ("taken back", [changed(1, 10, outcome=1), changed(1, 11)], {}),
        ("deleted afterwards", [changed(1, 10, outcome=1), deleted(1, 11)], {}),
        (
            "deleted, and another patient stays",
            [changed(1, 10, outcome=1), changed(2, 11, outcome=0), deleted(1, 12)],
            {2: "0"},
        ),
        ("deleted before the outcome could come", [changed(1, 10), deleted(1, 11)], {}),
    ],
)
def test_the_label_of_a_patient(
    lake: Lake, says: str, rows: list[Row], labels: dict[int, str]
) -> None:
    # Each change comes by an increment of its own.
    for row in rows:
        stream(lake, row)
    assert update_labels(lake).rows == len(labels), says
    assert outcomes(lake) == labels, says


def test_without_a_stream_the_table_is_empty(lake: Lake) -> None:
    first, second = update_labels(lake), update_labels(lake)
    assert (first.rows, first.version, first.added, first.stream_version) == (0, 0, True, None)
    assert (second.version, second.added) == (0, False)
    table = lake.table(LABELLED_PATIENTS).open().to_pyarrow_table()
    assert table.schema.equals(row_schema(LABELLED_PATIENTS).with_metadata(None))


def test_a_label_has_its_change_id_and_confirmation_time(lake: Lake) -> None:
    version = stream(lake, changed(7, 10), changed(7, 12, outcome=1, bmi=None))
    kept = update_labels(lake)
    (label,) = lake.table(LABELLED_PATIENTS).open().to_pyarrow_table().to_pylist()
    assert (label["change_id"], label["received_at"]) == ("7-12", BEGIN)
    assert label["outcome_recorded_at"].second == 12
    assert {name: label[name] for name in EXAMPLE} == {
        **{name: format(value, "g") for name, value in EXAMPLE.items()},
        "bmi": None,
    }
    assert kept.stream_version == version
    assert commits(lake.table(LABELLED_PATIENTS))[0].metadata[STREAM_VERSION] == str(version)


def test_unchanged_labels_add_no_version(lake: Lake) -> None:
    stream(lake, changed(1, 10, outcome=1))
    first = update_labels(lake)
    stream(lake, changed(2, 11), changed(3, 12), deleted(3, 13))
    # Debezium repeats its snapshot and every row has another LSN.
    stream(lake, changed(1, 20, outcome=1, op="r", outcome_recorded_at=BEGIN.replace(second=10)))
    second = update_labels(lake)
    assert (second.version, second.content_hash, second.added) == (0, first.content_hash, False)
    (label,) = lake.table(LABELLED_PATIENTS).open().to_pyarrow_table().to_pylist()
    assert label["change_id"] == "1-10"


def test_old_versions_of_the_labels_stay_readable(lake: Lake) -> None:
    stream(lake, changed(1, 10, outcome=1))
    first = update_labels(lake)
    stream(lake, changed(1, 11, outcome=0), changed(2, 12, outcome=1))
    second = update_labels(lake)
    stream(lake, deleted(2, 13))
    third = update_labels(lake)
    labels = [outcomes(lake, update.version) for update in (first, second, third)]
    assert labels == [{1: "1"}, {1: "0", 2: "1"}, {1: "0"}]
    assert len({update.content_hash for update in (first, second, third)}) == 3


def test_an_outcome_without_a_confirmation_time_counts(lake: Lake) -> None:
    stream(lake, changed(1, 10, outcome=1, outcome_recorded_at=None, received_at=None))
    assert update_labels(lake).rows == 1


def test_a_value_as_text_parses_to_the_same_value(lake: Lake) -> None:
    random_ = random.Random(7)
    measured = {
        n: {field.name: some_value(field, random_) for field in FEATURES} for n in range(2000)
    }
    stream(lake, *(changed(n, n, outcome=n % 2, **measured[n]) for n in measured))
    update_labels(lake)
    for label in lake.table(LABELLED_PATIENTS).open().to_pyarrow_table().to_pylist():
        expected = {**measured[label["id"]], "outcome": label["id"] % 2}
        assert {f.name: parse(f, label[f.name]).value for f in FIELDS} == expected


def some_value(field: Field, random_: random.Random) -> float:
    if field.kind == "integer":
        return random_.randint(int(field.minimum), int(field.maximum))
    return random_.choice((field.minimum, random_.uniform(field.minimum, field.maximum)))


def test_counts_labels_added_changed_or_removed_since_the_update(lake: Lake) -> None:
    assert waiting_labels(lake) == 0
    stream(lake, changed(1, 10, outcome=1), changed(2, 11, outcome=0), changed(3, 12))
    assert waiting_labels(lake) == 2, "no batch has ever asked for labels"
    update_labels(lake)
    assert waiting_labels(lake) == 0
    stream(lake, changed(1, 20, outcome=0), deleted(2, 21), changed(3, 22, outcome=1))
    stream(lake, changed(4, 23), changed(5, 24, outcome=1), deleted(5, 25))
    assert waiting_labels(lake) == 3, "one was changed, one is gone, one is new"
    update_labels(lake)
    assert waiting_labels(lake) == 0


def test_a_repeated_snapshot_leaves_no_waiting_labels(lake: Lake) -> None:
    stream(lake, changed(1, 10, outcome=1))
    update_labels(lake)
    repeated = changed(1, 10, outcome=1) | {"change_id": "1-99", "lsn": 99, "kafka_offset": 99}
    stream(lake, repeated)
    assert waiting_labels(lake) == 0
