"""The run configuration with which an operator accepts failed checks of a batch."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field, field_validator, model_validator

from diabetes_platform.orchestration.check_results import FEW_ROWS_REJECTED
from diabetes_platform.quality.expectations import ACCEPTABLE

ACCEPTABLE_CHECKS = ACCEPTABLE | {FEW_ROWS_REJECTED}
"""The checks that a real change of the patients fails; the others find broken rows."""


class Acceptance(dg.Config):
    """Failures that this run, and later runs of the same source, accept.

    `staging.validations` and `serving.promotions` record them.
    """

    accept: dict[str, str] = Field(
        default={}, description="Reasons by check, for example row_count_not_collapsed."
    )
    accepted_by: str = Field(default="", description="The person who accepts the failures.")

    @field_validator("accept")
    @classmethod
    def _acceptable_checks_with_a_reason(cls, accept: dict[str, str]) -> dict[str, str]:
        for name, reason in accept.items():
            if name not in ACCEPTABLE_CHECKS:
                allowed = ", ".join(sorted(ACCEPTABLE_CHECKS))
                raise ValueError(f"accept: check {name} cannot be accepted; allowed: {allowed}")
            if not reason.strip():
                raise ValueError(f"accept: {name} has no reason")
        return accept

    @model_validator(mode="after")
    def _has_a_person(self) -> "Acceptance":
        if self.accept and not self.accepted_by.strip():
            raise ValueError("accepted_by: no name; allowed: the person who accepts the failures")
        return self

    @property
    def reasons(self) -> dict[str, str]:
        """The person, the date (UTC) and the reason, by check."""
        by = f"{self.accepted_by} on {datetime.now(UTC).date()}"
        return {name: f"{by}: {reason}" for name, reason in self.accept.items()}
