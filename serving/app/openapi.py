"""What the OpenAPI document says beyond the routes' own types: bodies, problems, examples."""

from typing import Any

from pydantic import TypeAdapter

from diabetes_platform.contract.fields import OUTCOME
from serving.app.models import EXAMPLE_PATIENT, MAX_BATCH, Patient, Problem
from serving.app.problems import PROBLEM_JSON

DESCRIPTION = """\
Numbers are JSON numbers: a number written as text is refused. A measurement that was not taken is
left out, null, or the code that the data set uses for it (0). Unknown fields are refused.
Every refusal is a problem document (RFC 9457) whose `errors` name field, given and allowed.
"""

_REF = "#/components/schemas/{model}"
_PATIENT = {"$ref": _REF.format(model="Patient")}

PATIENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _PATIENT, "example": EXAMPLE_PATIENT}},
    }
}
BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "items": _PATIENT,
                    "minItems": 1,
                    "maxItems": MAX_BATCH,
                },
                "example": [EXAMPLE_PATIENT],
            }
        },
    }
}

OUTCOME_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        OUTCOME.name: {
                            "type": "integer",
                            "enum": list(OUTCOME.allowed or ()),
                            "description": OUTCOME.description,
                        }
                    },
                    "required": [OUTCOME.name],
                    "additionalProperties": False,
                },
                "example": {OUTCOME.name: OUTCOME.example},
            }
        },
    }
}
EVENT_STREAM: dict[str, Any] = {
    "description": (
        "`prediction` events with the id `<lsn>-<model version>`, comments between them as "
        "heartbeat, `unavailable` where the database cannot be reached for a while."
    ),
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": (
                "event: prediction\n"
                'data: {"patient_id":1,"event_id":"26514320-f82e3e51a6ce","result":"Diabetes",…}\n'
                "id: 26514320-f82e3e51a6ce\n\n"
            ),
        }
    },
}

_REFUSALS = {
    404: "There is no such patient.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "Not allowed; `errors` holds all the reasons.",
    503: "No model has been released yet, or the database cannot be reached.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problem responses with `statuses`, as a route declares them."""
    content = {PROBLEM_JSON: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in statuses}


def add_body_schemas(document: dict[str, Any]) -> None:
    """Add to `document` the models that routes read or refuse with by themselves."""
    for model, name in ((Patient, "Patient"), (Problem, "Problem")):
        schema = TypeAdapter(model).json_schema(ref_template=_REF)
        document["components"]["schemas"] |= {**schema.pop("$defs", {}), name: schema}
