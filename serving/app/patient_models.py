"""What the API says of a patient that it took in: measurements, state, answer, hops."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field as Described
from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from diabetes_platform.contract.fields import FEATURES, OUTCOME, RESULT_LABELS
from serving.app.models import Contributions, Probability

State = Literal["waiting", "answered"]

MAX_PAGE = 100
"""The most patients in one page of `GET /patients`."""
LARGEST_ID = 2**63 - 1

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

Measurements = Annotated[dict[str, float | None], WithJsonSchema(_MEASUREMENTS)]
Outcome = Annotated[int | None, WithJsonSchema(_OUTCOME)]


class Hop(TypedDict):
    """One step of the way from the page to the stored answer."""

    name: str
    milliseconds: Annotated[
        float | None, Described(description="null where a stamp is missing on either side")
    ]


class StoredPrediction(TypedDict):
    """What a model said of one change of the patient's row."""

    patient_id: int
    event_id: Annotated[str, Described(description="`<lsn>-<model version>`, as in the stream")]
    result: Annotated[str, WithJsonSchema({"type": "string", "enum": list(RESULT_LABELS)})]
    probability: Probability
    threshold: Annotated[
        float | None, Described(description="the model's; null where its bundle cannot be read")
    ]
    model_version: str
    contributions: Contributions
    changed_at: datetime
    stored_at: datetime
    milliseconds: Annotated[float, Described(description="from the change to the stored answer")]
    hops: list[Hop]


class Links(TypedDict):
    """Where to go on."""

    self: str
    events: str
    outcome: str
    page: str


class Received(TypedDict):
    """The receipt for a patient: kept, to be answered by the stream."""

    id: int
    received_at: datetime
    state: State
    links: Links


class PatientAnswer(TypedDict):
    """A patient with its newest prediction."""

    id: int
    received_at: datetime
    state: State
    measurements: Measurements
    outcome: Outcome
    outcome_recorded_at: datetime | None
    prediction: StoredPrediction | None
    links: Links


class PatientSummary(TypedDict):
    """A patient in the list: how far it is, neither measurements nor result."""

    id: int
    received_at: datetime
    state: State
    outcome_recorded: bool
    links: Links


class PatientPage(TypedDict):
    """Recent patients, the newest first; `next` is the address of the older ones."""

    patients: list[PatientSummary]
    next: str | None


def links_of(patient_id: int) -> Links:
    """Return the addresses of one patient."""
    own = f"/patients/{patient_id}"
    return Links(
        self=own,
        events=f"{own}/events",
        outcome=f"{own}/outcome",
        page=f"/intake/{patient_id}",
    )


_EXAMPLE_TIME = "2026-11-24T10:00:00.123456Z"
RECEIVED_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "received_at": _EXAMPLE_TIME,
    "state": "waiting",
    "links": dict(links_of(1)),
}
