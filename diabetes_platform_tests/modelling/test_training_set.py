"""The training set as arrays, and the contract's rules in pandera."""

import math
from dataclasses import replace

import numpy as np
import pandera.errors
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from diabetes_platform.contract.fields import (
    FEATURE_NAMES,
    FEATURES,
    FIELDS,
    FIELDS_BY_NAME,
    OUTCOME,
)
from diabetes_platform.contract.validation import MISSING, NOT_FINITE, Reason, parse, reason_for
from diabetes_platform.modelling.training_set import (
    TrainingSet,
    TrainingSetError,
    training_frame,
    training_set,
    training_set_from_arrow,
    training_set_schema,
    validate_training_set,
)
from diabetes_platform_tests.contract.cases import agreement_rows
from diabetes_platform_tests.modelling.patients import pima_table

PATIENT = [math.nan if f.name == "blood_pressure" else float(f.example) for f in FEATURES]


def with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def test_features_are_float64_in_contract_order_with_nan_where_missing(pima: TrainingSet) -> None:
    assert pima.features.shape == (768, len(FEATURE_NAMES))
    assert pima.features.dtype == np.float64
    missing = dict(zip(FEATURE_NAMES, np.isnan(pima.features).sum(axis=0), strict=True))
    original = {f.name: missing[f.name] for f in FEATURES if f.original}
    assert {name: count for name, count in original.items() if count} == {
        "glucose": 5,
        "blood_pressure": 35,
        "skin_thickness": 227,
        "insulin": 374,
        "bmi": 11,
    }
    assert pima.prevalence == 268 / 768


def test_the_order_of_the_rows_does_not_matter(pima: TrainingSet) -> None:
    table = pima_table()
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))
    reordered = training_set_from_arrow(shuffled)
    assert reordered.content_hash == pima.content_hash
    assert reordered.record_ids == pima.record_ids
    np.testing.assert_array_equal(reordered.features, pima.features)


def test_the_content_hash_ignores_the_batch(pima: TrainingSet) -> None:
    other_batch = training_set_from_arrow(pima_table("ba9876543210"))
    assert other_batch.content_hash == pima.content_hash
    assert other_batch.record_ids != pima.record_ids
    np.testing.assert_array_equal(other_batch.outcomes, pima.outcomes)


@pytest.mark.parametrize(
    ("features", "outcome"),
    [([PATIENT[0] + 1, *PATIENT[1:]], 0), (PATIENT, 1), ([*PATIENT[:2], 70.0, *PATIENT[3:]], 0)],
    ids=["a measurement", "the outcome", "a measurement that was missing"],
)
def test_the_content_hash_changes(features: list[float], outcome: int) -> None:
    base = training_set([PATIENT], [0], ["a-2"])
    assert training_set([features], [outcome], ["a-2"]).content_hash != base.content_hash


def test_a_duplicate_row_changes_the_content_hash() -> None:
    once = training_set([PATIENT], [0], ["a-2"])
    twice = training_set([PATIENT, PATIENT], [0, 0], ["a-2", "a-3"])
    assert twice.content_hash != once.content_hash


def test_rows_with_identical_measurements_have_one_key_whatever_their_outcome() -> None:
    minus_zero = [-0.0, *PATIENT[1:]]
    rows = training_set([[0.0, *PATIENT[1:]], minus_zero], [0, 1], ["a-2", "a-3"])
    assert len(set(rows.measurement_keys)) == 1


def test_a_table_without_the_source_column_has_the_same_content_hash(
    pima: TrainingSet,
) -> None:
    older = training_set_from_arrow(pima_table().drop_columns(["source"]))
    assert older.content_hash == pima.content_hash


def test_an_absent_optional_feature_is_missing_in_every_row(pima: TrainingSet) -> None:
    older = training_set_from_arrow(pima_table().drop_columns(["insulin"]))
    insulin = FEATURE_NAMES.index("insulin")
    assert older.features.shape == pima.features.shape
    assert np.isnan(older.features[:, insulin]).all()
    assert older.content_hash != pima.content_hash


def test_reads_the_intake_from_the_record_id() -> None:
    rows = training_set([PATIENT, PATIENT], [0, 1], ["a-2", "a-intake-7"])
    assert dict(zip(rows.record_ids, rows.intakes, strict=True)) == {"a-2": None, "a-intake-7": 7}


def test_the_arrays_are_read_only(pima: TrainingSet) -> None:
    with pytest.raises(ValueError, match="read-only"):
        pima.features[0, 0] = 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pima_table().slice(0, 0), "has no rows; allowed: at least 1"),
        (pima_table().drop_columns(["age"]), "absent: age"),
        (
            with_column(pima_table(), "bmi", pc.cast(pima_table()["bmi"], pa.string())),
            "bmi has type string; allowed: a number",
        ),
        (
            with_column(pima_table(), "outcome", pa.nulls(768, pa.int32())),
            "outcome: 768 rows without an allowed value; allowed: 0 or 1",
        ),
        (
            with_column(pima_table(), "age", pa.array([math.inf] * 768)),
            "age has an infinite value; allowed: finite or missing",
        ),
    ],
    ids=["no rows", "no such column", "text", "no outcome", "infinite"],
)
def test_rejects_a_table_that_cannot_be_trained_on(table: pa.Table, message: str) -> None:
    with pytest.raises(TrainingSetError, match=message):
        training_set_from_arrow(table)


def test_rejects_a_matrix_of_another_shape() -> None:
    with pytest.raises(TrainingSetError, match=r"has the shapes \(1, 3\)"):
        training_set([[1, 2, 3]], [0], ["a-2"])


def test_the_pima_patients_satisfy_the_contract() -> None:
    validate_training_set(pima_table())


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("glucose", [712.5, 90.0], "glucose: above_maximum in 1 rows .*allowed: 40 to 600 mg"),
        ("glucose", [12.5, 90.0], r"glucose: below_minimum in 1 rows \(0123456789ab-2\)"),
        ("age", [None, 30.0], "age: missing in 1 rows .*allowed: 18 to 120 years"),
        ("outcome", [None, 1.0], "outcome: missing in 1 rows .*allowed: 0 or 1"),
        ("pregnancies", [1.5, 1.0], "pregnancies: not_an_integer in 1 rows"),
        ("record_id", ["a-2", "a-2"], r"record_id: duplicate in 2 rows \(a-2, a-2\)"),
        ("record_id", [None, "a-2"], "record_id: missing in 1 rows"),
        ("bmi", ["high", "low"], "set: bmi: type in 2 rows [^;]*; allowed: 10 to 100 kg/m²$"),
    ],
)
def test_names_field_rule_rows_and_allowed_values(
    column: str, values: list[object], message: str
) -> None:
    table = with_column(pima_table().slice(0, 2), column, pa.array(values))
    with pytest.raises(TrainingSetError, match=message):
        validate_training_set(table)


def test_names_a_missing_and_an_unexpected_column() -> None:
    table = pima_table().rename_columns({"bmi": "weight"})
    with pytest.raises(TrainingSetError, match=r"bmi: column_in_dataframe.*weight: column_in_sch"):
        validate_training_set(table)


@pytest.mark.parametrize("values", [[712.5, 31.25], ["712.5", "31.25"]], ids=["number", "text"])
def test_the_message_contains_no_patient_value(values: list[object]) -> None:
    table = with_column(pima_table().slice(0, 2), "glucose", pa.array(values))
    with pytest.raises(TrainingSetError) as refused:
        validate_training_set(table)
    assert "712.5" not in str(refused.value)
    assert "31.25" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_pandera_and_the_contract_agree_on_every_row() -> None:
    """Rows that hold no number at all stop in cleaning: no column of numbers can carry them."""
    cases = [case for case in agreement_rows() if _fits_a_table_of_numbers(case.row)]
    assert len(cases) > 300
    expected = {
        str(row): {reason for field in FIELDS if (reason := _reason(field.name, case.row))}
        for row, case in enumerate(cases)
    }
    violations = _broken_rules([case.row for case in cases])
    for row, case in enumerate(cases):
        fields = {reason.field for reason in expected[str(row)]}
        assert {reason.field for reason in violations[str(row)]} == fields, case.name
        assert expected[str(row)] <= violations[str(row)], case.name


def _fits_a_table_of_numbers(row: dict[str, str | None]) -> bool:
    return all(
        parse(field, row[field.name]).code in {None, NOT_FINITE}
        and not math.isnan(_as_number(field.name, row[field.name]) or 0)
        for field in FIELDS
    )


def _as_number(name: str, text: str | None) -> float | None:
    parsed = parse(FIELDS_BY_NAME[name], text)
    return float(text) if text is not None and parsed.code == NOT_FINITE else parsed.value


def _reason(name: str, row: dict[str, str | None]) -> Reason | None:
    field = FIELDS_BY_NAME[name]
    if field is OUTCOME:  # only labelled rows can train
        field = replace(field, required=True)
    return reason_for(field, row[name])


def _broken_rules(rows: list[dict[str, str | None]]) -> dict[str, set[Reason]]:
    columns: dict[str, pa.Array] = {
        field.name: pa.array(
            [_as_number(field.name, row[field.name]) for row in rows], pa.float64()
        )
        for field in FIELDS
    }
    columns["record_id"] = pa.array([str(row) for row in range(len(rows))])
    columns["source"] = columns["batch_id"] = pa.array(["a"] * len(rows))
    with pytest.raises(pandera.errors.SchemaErrors) as errors:
        training_set_schema().validate(training_frame(pa.table(columns)), lazy=True)
    broken: dict[str, set[Reason]] = {str(row): set() for row in range(len(rows))}
    for case in errors.value.failure_cases.to_dict("records"):
        code = MISSING if case["check"] == "not_nullable" else str(case["check"])
        broken[str(case["index"])].add(Reason(str(case["column"]), code))
    return broken
