"""Sample rows of `staging.patients` with the contract's example values."""

from diabetes_platform.contract.fields import FEATURES, OUTCOME
from diabetes_platform.contract.tables import filled_name, normed_name
from diabetes_platform_tests.samples import EXAMPLE


def staged_patient(batch_id: str, line: int) -> dict[str, object]:
    """Return a row without missing values; patients of one batch differ in age."""
    values = EXAMPLE | {"age": 21 + line % 60}
    return {
        "record_id": f"{batch_id}-{line}",
        **values,
        **{filled_name(field): values[field.name] for field in FEATURES if not field.required},
        **{normed_name(field): 0.0 for field in FEATURES},
        OUTCOME.name: line % 2,
        "source": "sample",
        "batch_id": batch_id,
    }
