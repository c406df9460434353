"""Response models of the patient routes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field as PydanticField
from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from diabetes_platform.contract.fields import FEATURES, OUTCOME, RESULT_LABELS
from serving.app.served_model import Contributions, Probability

State = Literal["waiting", "answered"]

MAX_PAGE = 100
"""The maximum number of patients in one page of `GET /patients`."""
LARGEST_ID = 2**63 - 1
PatientId = Annotated[
    int, Path(ge=1, le=LARGEST_ID, description="The id in the response of POST /patients.")
]

_MEASUREMENTS = {
    "type": "object",
    "title": "Measurements",
    "properties": {
        field.name: {
            "type": [field.kind] if field.required else [field.kind, "null"],
            "title": field.label,
            "x-unit": field.unit,
        }
        for field in FEATURES
    },
    "required": [field.name for field in FEATURES],
}
_OUTCOME = {"enum": [*(OUTCOME.allowed or ()), None], "description": OUTCOME.description}

StoredTime = Annotated[
    datetime | None, PydanticField(description="null if the stored time is not in years 1 to 9999")
]
Measurements = Annotated[dict[str, float | None], WithJsonSchema(_MEASUREMENTS)]
OutcomeValue = Annotated[int | None, WithJsonSchema(_OUTCOME)]


class StageLatency(TypedDict):
    """The latency of one stage between the request and the stored prediction."""

    name: str
    milliseconds: Annotated[
        float | None, PydanticField(description="null if a timestamp is missing")
    ]


class StoredPrediction(TypedDict):
    """A model's prediction for one change of the patient's row."""

    patient_id: int
    event_id: Annotated[
        str, PydanticField(description="`<lsn>-<model version>`, as in the event stream")
    ]
    result: Annotated[str, WithJsonSchema({"type": "string", "enum": list(RESULT_LABELS)})]
    probability: Probability
    threshold: Annotated[
        float | None, PydanticField(description="the model's; null if its bundle cannot be read")
    ]
    model_version: str
    contributions: Contributions
    changed_at: StoredTime
    stored_at: StoredTime
    milliseconds: Annotated[
        float, PydanticField(description="from the change to the stored prediction")
    ]
    hops: Annotated[list[StageLatency], PydanticField(description="latency of each stage")]


class Links(TypedDict):
    """The addresses of one patient."""

    self: str
    events: str
    outcome: str
    page: str


class PatientReceipt(TypedDict):
    """The receipt for a stored patient, whose prediction will follow."""

    id: int
    received_at: StoredTime
    state: State
    links: Links


class PatientDetail(PatientReceipt):
    """A patient with its newest prediction."""

    measurements: Measurements
    outcome: OutcomeValue
    outcome_recorded_at: StoredTime
    prediction: StoredPrediction | None


class PatientSummary(PatientReceipt):
    """A patient in a list, without measurements or result."""

    outcome_recorded: bool


class PatientPage(TypedDict):
    """Recent patients, newest first; `next` is the address of the older ones."""

    patients: list[PatientSummary]
    next: str | None


def links_of(patient_id: int) -> Links:
    """Return the addresses of one patient."""
    path, page = f"/patients/{patient_id}", f"/intake/{patient_id}"
    return Links(self=path, events=f"{path}/events", outcome=f"{path}/outcome", page=page)


RECEIPT_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "received_at": "2026-11-24T10:00:00.123456Z",
    "state": "waiting",
    "links": dict(links_of(1)),
}
