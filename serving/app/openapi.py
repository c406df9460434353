"""OpenAPI parts that FastAPI cannot derive from types: request bodies and problem responses."""

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from diabetes_platform.contract.fields import OUTCOME
from serving.app.problems import JSON, PROBLEM_JSON, Problem
from serving.app.validation import EXAMPLE_PATIENT, OutcomeBody, Patient

DESCRIPTION = """\
Numbers are JSON numbers: a number written as text is rejected. Leave out a measurement that was not
taken, or send null or the code that the data set uses for it (0). Unknown fields are rejected.
Every error is a problem document (RFC 9457); its `errors` list field, given value and allowed
values.
"""

_REF = "#/components/schemas/{model}"
PATIENT_REF = {"$ref": _REF.format(model="Patient")}

_PROBLEM_DESCRIPTIONS = {
    404: "The patient does not exist.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "Not allowed; `errors` lists every error.",
    503: "No model has been released yet, or the database cannot be reached.",
}


class DocumentedApi(FastAPI):
    """FastAPI whose OpenAPI document includes the models that routes validate themselves."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, built once."""
        if self.openapi_schema is None:
            _add_schemas(super().openapi())
        return super().openapi()


def json_body(schema: dict[str, Any], example: object) -> dict[str, Any]:
    """Return the `openapi_extra` of a route with a required JSON body."""
    content = {JSON: {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


PATIENT_BODY = json_body(PATIENT_REF, EXAMPLE_PATIENT)
OUTCOME_BODY = json_body({"$ref": _REF.format(model="Outcome")}, {OUTCOME.name: OUTCOME.example})


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problem responses with `statuses`, as a route declares them."""
    content = {PROBLEM_JSON: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {
        status: {"description": _PROBLEM_DESCRIPTIONS[status], "content": content}
        for status in statuses
    }


def _add_schemas(document: dict[str, Any]) -> None:
    for model in (Patient, OutcomeBody, Problem):
        schema = TypeAdapter(model).json_schema(ref_template=_REF)
        document["components"]["schemas"] |= {**schema.pop("$defs", {}), model.__name__: schema}
