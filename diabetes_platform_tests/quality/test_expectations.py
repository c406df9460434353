"""The suite: every field of the contract is held to the rules that it must have."""

import re
import subprocess
import sys

import pytest

from diabetes_platform.contract.fields import FEATURES, FIELDS, OUTCOME, Field
from diabetes_platform.contract.tables import (
    FILLED,
    NORMED,
    STAGING_PATIENTS,
    filled_name,
    normed_name,
)
from diabetes_platform.quality.expectations import (
    ACCEPTABLE,
    EXPECTATIONS,
    ExpectationSpec,
    Kwargs,
    Partition,
    PreviousBatch,
    bound_kwargs,
)

BY_NAME = {spec.name: spec for spec in EXPECTATIONS}
NULLABLE = [field for field in FEATURES if not field.required]
LATER = [field for field in FEATURES if not field.original]

name_of = pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
feature = pytest.mark.parametrize("field", FEATURES, ids=lambda field: field.name)
nullable = pytest.mark.parametrize("field", NULLABLE, ids=lambda field: field.name)


def kwargs(name: str) -> Kwargs:
    return BY_NAME[name].kwargs


def test_names_are_unique_and_fit_dagster() -> None:
    assert len(BY_NAME) == len(EXPECTATIONS)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", spec.name) for spec in EXPECTATIONS)


def test_every_expectation_has_a_description() -> None:
    assert all(spec.description.endswith((".", "]")) for spec in EXPECTATIONS)


def test_columns_are_columns_of_the_staging_table() -> None:
    columns = {spec.column for spec in EXPECTATIONS if spec.column is not None}
    assert columns <= set(STAGING_PATIENTS.column_names)


def test_only_comparisons_and_scales_are_warnings() -> None:
    warnings = {spec.name for spec in EXPECTATIONS if spec.severity == "warning"}
    assert warnings == {
        "row_count_near_previous_batch",
        "outcome_share_near_previous_batch",
        *(f"{field.name}_distribution_near_previous_batch" for field in FEATURES),
        *(f"{column.name}_centred" for column in NORMED),
        *(f"enough_{field.name}_measured" for field in LATER),
        *(f"{field.name}_mean_plausible" for field in LATER),
    }


@feature
def test_a_feature_has_the_contracts_range(field: Field) -> None:
    bounds = {"min_value": field.minimum, "max_value": field.maximum}
    assert kwargs(f"{field.name}_in_range") == {"column": field.name, **bounds}


@nullable
def test_a_filled_feature_has_the_range_and_no_missing_values(field: Field) -> None:
    filled = filled_name(field)
    bounds = {"min_value": field.minimum, "max_value": field.maximum}
    assert kwargs(f"{filled}_in_range") == {"column": filled, **bounds}
    if field.original:
        assert kwargs(f"no_missing_{filled}") == {"column": filled}
    else:
        assert f"no_missing_{filled}" not in BY_NAME


@nullable
def test_an_optional_feature_has_a_minimum_measured_share(field: Field) -> None:
    assert kwargs(f"enough_{field.name}_measured")["min_value"] > 0
    assert f"no_missing_{field.name}" not in BY_NAME


def test_required_columns_have_no_missing_values() -> None:
    assert {spec.column for spec in EXPECTATIONS if spec.name.startswith("no_missing_")} == {
        *(field.name for field in FIELDS if field.required),
        *(column.name for column in (*FILLED, *NORMED) if not column.nullable),
        "record_id",
        "source",
        "batch_id",
    }


def test_a_field_with_allowed_values_has_no_others() -> None:
    assert kwargs("outcome_allowed") == {"column": "outcome", "value_set": [0, 1]}
    assert kwargs("both_outcomes_present")["min_value"] == len(OUTCOME.allowed or ())


def test_integer_features_are_whole_numbers() -> None:
    integers = {spec.column for spec in EXPECTATIONS if spec.name.endswith("_whole_numbers")}
    assert integers == {field.name for field in FEATURES if field.kind == "integer"}


@name_of
def test_the_mean_of_a_field_is_plausible(field: Field) -> None:
    bounds = kwargs(f"{field.name}_mean_plausible")
    assert (bounds["min_value"], bounds["max_value"]) == field.typical_mean


@feature
def test_a_scaled_feature_lies_around_zero(field: Field) -> None:
    bounds = kwargs(f"{normed_name(field)}_centred")
    assert -bounds["min_value"] == bounds["max_value"] > 0


def test_the_schema_is_that_of_the_contract() -> None:
    columns = kwargs("has_expected_columns")
    assert columns == {"column_set": list(STAGING_PATIENTS.column_names), "exact_match": True}
    types = kwargs("has_expected_column_types")["column_types"]
    assert list(types) == list(STAGING_PATIENTS.column_names)
    assert (types["age"], types["outcome"]) == ("DOUBLE PRECISION", "INTEGER")


def test_duplicates_compare_all_fields() -> None:
    query = kwargs("no_duplicate_patients")["unexpected_rows_query"]
    columns = ", ".join(f'"{field.name}"' for field in FIELDS)
    assert f"PARTITION BY {columns})" in query


@pytest.mark.parametrize(
    ("name", "rows", "bounds"),
    [
        ("row_count_not_collapsed", 768, {"min_value": 384}),
        ("row_count_not_collapsed", 3, {"min_value": 2}),
        ("row_count_near_previous_batch", 100, {"min_value": 80, "max_value": 120}),
        ("row_count_near_previous_batch", 768, {"min_value": 615, "max_value": 921}),
    ],
)
def test_row_counts_are_compared_with_the_promoted_version(
    name: str, rows: int, bounds: dict[str, int]
) -> None:
    assert bound_kwargs(BY_NAME[name], PreviousBatch(rows, {})) == bounds


def test_compares_a_distribution_by_bins() -> None:
    previous = PreviousBatch(10, {"age": Partition((18, 40, 120), (0.75, 0.25), 10)})
    bound = bound_kwargs(BY_NAME["age_distribution_near_previous_batch"], previous)
    assert bound is not None
    assert bound["partition_object"] == {
        "bins": [18, 40, 120],
        "weights": [0.75, 0.25],
        "tail_weights": [0.0, 0.0],
    }


def test_outer_bins_reach_to_the_ends_of_the_contracts_range() -> None:
    """The reference may be older than the range: it ends at 400, and 600 is allowed."""
    previous = PreviousBatch(10, {"glucose": Partition((50, 120, 400), (0.75, 0.25), 10)})
    bound = bound_kwargs(BY_NAME["glucose_distribution_near_previous_batch"], previous)
    assert bound is not None
    assert bound["partition_object"]["bins"] == [40, 120, 600]


def test_row_counts_are_not_compared_with_the_reference() -> None:
    reference = PreviousBatch(768, {}, 0.35, is_reference=True)
    assert bound_kwargs(BY_NAME["row_count_not_collapsed"], reference) is None
    assert bound_kwargs(BY_NAME["row_count_near_previous_batch"], reference) is None
    assert bound_kwargs(BY_NAME["outcome_share_near_previous_batch"], reference) is not None


@pytest.mark.parametrize(
    ("share", "bounds"),
    [(0.35, (0.25, 0.45)), (0.05, (0, 0.15)), (0.95, (0.85, 1))],
)
def test_the_share_of_the_outcome_is_compared(share: float, bounds: tuple[float, float]) -> None:
    previous = PreviousBatch(768, {}, share)
    kwargs = bound_kwargs(BY_NAME["outcome_share_near_previous_batch"], previous)
    assert kwargs is not None
    assert (kwargs["min_value"], kwargs["max_value"]) == pytest.approx(bounds)
    without = PreviousBatch(768, {})
    assert bound_kwargs(BY_NAME["outcome_share_near_previous_batch"], without) is None


@pytest.mark.parametrize(
    ("previous_count", "count", "divergence", "severe"),
    [
        (768, 768, 0.12, False),
        (768, 768, 0.21, True),
        (100_000, 768, 0.21, True),
        # Twenty rows differ by chance.
        (768, 20, 0.6, False),
        (20, 20, 1.4, False),
        (20, 20, 1.6, True),
    ],
)
def test_another_distribution_is_severe_unless_chance_explains_it(
    previous_count: int, count: int, divergence: float, *, severe: bool
) -> None:
    """What counts are the values of the field, however many rows have none."""
    is_severe = BY_NAME["insulin_distribution_near_previous_batch"].is_severe
    assert is_severe is not None
    histogram = Partition((1, 1000), (1.0,), previous_count)
    previous = PreviousBatch(1_000_000, {"insulin": histogram})
    assert is_severe(previous, divergence, count) is severe


@pytest.mark.parametrize(
    ("previous_count", "count", "share", "severe"),
    [
        (768, 768, 0.5, False),
        (768, 768, 0.651, True),
        (768, 768, 0.1, True),
        (768, 30, 0.651, False),
        (30, 768, 0.651, False),
    ],
)
def test_another_share_of_the_outcome_is_severe_unless_chance_explains_it(
    previous_count: int, count: int, share: float, *, severe: bool
) -> None:
    is_severe = BY_NAME["outcome_share_near_previous_batch"].is_severe
    assert is_severe is not None
    previous = PreviousBatch(768, {}, 0.349, outcome_count=previous_count)
    assert is_severe(previous, share, count) is severe


def test_only_statistics_can_be_accepted() -> None:
    assert {"row_count_not_collapsed", "glucose_higher_with_outcome"} <= ACCEPTABLE
    assert not ACCEPTABLE & {"has_rows", "age_in_range", "no_missing_age", "outcome_allowed"}


COMPARING = [spec for spec in EXPECTATIONS if spec.compare is not None]


@pytest.mark.parametrize("spec", COMPARING, ids=lambda spec: spec.name)
def test_compares_nothing_without_a_promoted_version(spec: ExpectationSpec) -> None:
    assert bound_kwargs(spec, None) is None


def test_does_not_compare_a_feature_that_the_promoted_version_did_not_measure() -> None:
    spec = BY_NAME["insulin_distribution_near_previous_batch"]
    assert bound_kwargs(spec, PreviousBatch(10, {})) is None


def test_the_code_location_can_import_the_suite_without_great_expectations() -> None:
    script = (
        "import sys; import diabetes_platform.quality.expectations;"
        "import diabetes_platform.quality.validate, diabetes_platform.quality.previous_batch;"
        "print('great_expectations' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
