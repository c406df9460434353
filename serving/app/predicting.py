"""From the bytes of a request to the bytes of its answer. No server here.

The fast path and the declared routes both call these functions: there is one judgement.
"""

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from serving.app.models import (
    MAX_BATCH,
    BatchAnswer,
    FieldError,
    Patient,
    Prediction,
    Refusal,
)
from serving.app.problems import JSON, Answer, problem
from serving.app.served_model import ServedModel
from serving.app.verdicts import NOT_JSON, echo, field_errors

_read_patient = Patient.__pydantic_validator__.validate_json
_judge_patient = Patient.__pydantic_validator__.validate_python
_write_prediction = TypeAdapter(Prediction).serializer.to_json
_write_batch = TypeAdapter(BatchAnswer).serializer.to_json


def predict(model: ServedModel | None, body: bytes, *, with_contributions: bool = False) -> Answer:
    """Judge one patient: 200 with the prediction, 422 with all reasons, 503 without a model."""
    if model is None:
        return no_model()
    try:
        patient = _read_patient(body)
    except ValidationError as error:
        errors = field_errors(error)
        return problem(422, f"The patient has {_count(len(errors), 'fault')}.", errors)
    if with_contributions:
        prediction = model.predict_all([patient], with_contributions=True)[0]
    else:
        prediction = model.predict(patient)
    return Answer(200, JSON, _write_prediction(prediction))


def predict_batch(
    model: ServedModel | None, body: bytes, *, with_contributions: bool = False
) -> Answer:
    """Judge each patient of a list by itself: a bad one gets its reasons, the others an answer."""
    if model is None:
        return no_model()
    try:
        rows = from_json(body)
    except ValueError as error:
        return _bad_list(NOT_JSON, str(error))
    if not isinstance(rows, list):
        return _bad_list("not_a_list", echo(rows))
    if not 1 <= len(rows) <= MAX_BATCH:
        return _bad_list("not_allowed", _count(len(rows), "patient"))
    judged = [_judge(row) for row in rows]
    patients = [one for one in judged if isinstance(one, BaseModel)]
    predictions = iter(model.predict_all(patients, with_contributions=with_contributions))
    answer = BatchAnswer(
        predicted=len(patients),
        refused=len(judged) - len(patients),
        results=[one if isinstance(one, dict) else next(predictions) for one in judged],
    )
    return Answer(200, JSON, _write_batch(answer))


def no_model() -> Answer:
    """Return the refusal of a server that has no model yet."""
    return problem(503, "No model has been released yet; /ready says when one is.")


def _judge(row: object) -> BaseModel | Refusal:
    try:
        patient: BaseModel = _judge_patient(row)
    except ValidationError as error:
        return Refusal(errors=field_errors(error))
    return patient


def _bad_list(code: str, given: object) -> Answer:
    error = FieldError(
        field="body", code=code, given=given, allowed=f"a list of 1 to {MAX_BATCH} patients"
    )
    return problem(422, f"Send a JSON list of 1 to {MAX_BATCH} patients.", [error])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
