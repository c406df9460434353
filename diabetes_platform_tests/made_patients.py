"""Made patients: the contract's own example values, in the shape that a test needs."""

from diabetes_platform.contract.fields import FEATURES, OUTCOME
from diabetes_platform.contract.tables import filled_name, normed_name


def staged_patient(batch_id: str, line: int) -> dict[str, object]:
    """A row of `staging.patients`, measured in full; patients of one batch differ in age."""
    measured = {field.name: field.example for field in FEATURES} | {"age": 21 + line % 60}
    return {
        "record_id": f"{batch_id}-{line}",
        **measured,
        **{filled_name(field): measured[field.name] for field in FEATURES if not field.required},
        **{normed_name(field): 0.0 for field in FEATURES},
        OUTCOME.name: line % 2,
        "source": "made",
        "batch_id": batch_id,
    }
