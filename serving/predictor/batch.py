"""From a batch of messages to rows of `serving.predictions`. Pure functions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from serving.app.served_model import ServedModel
from serving.predictor.messages import Change, Deleted

_MAX_NOTIFICATION_LENGTH = 7000
"""PostgreSQL's limit is 8,000 bytes."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The patients whose predictions to delete, and then the changes to score."""

    changes: tuple[Change, ...]
    deleted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """Rows of `serving.predictions`, without `stored_at`, as equally long lists by column.

    Times are milliseconds since 1970.
    """

    columns: dict[str, list[Any]]
    scored_ms: float

    @property
    def patient_ids(self) -> list[int]:
        """The patients, in the order of the rows."""
        return self.columns["intake_id"]

    def __len__(self) -> int:
        return len(self.patient_ids)


def plan_batch(messages: Sequence[Change | Deleted]) -> BatchPlan:
    """Return the plan for messages that are in order for each patient.

    It leaves out repeated changes, and changes that precede a patient's last deletion.
    """
    changes: dict[tuple[int, int], Change] = {}
    deleted: dict[int, None] = {}
    last_deletion = {
        message.intake_id: index
        for index, message in enumerate(messages)
        if isinstance(message, Deleted)
    }
    for index, message in enumerate(messages):
        if isinstance(message, Deleted):
            deleted[message.intake_id] = None
        elif index > last_deletion.get(message.intake_id, -1):
            changes.setdefault((message.intake_id, message.source_lsn), message)
    return BatchPlan(tuple(changes.values()), tuple(deleted))


def score_changes(
    changes: Sequence[Change], model: ServedModel, *, consumed_ms: float, clock: Callable[[], float]
) -> PredictionRows:
    """Score the changes; all rows have the model's version and the same scoring time."""
    predictions = model.predict_all([change.patient for change in changes], with_contributions=True)
    scored_ms, rows = clock(), len(changes)
    return PredictionRows(
        {
            "intake_id": [change.intake_id for change in changes],
            "source_lsn": [change.source_lsn for change in changes],
            "model_version": [prediction["model_version"] for prediction in predictions],
            "probability": [prediction["probability"] for prediction in predictions],
            "result": [prediction["result"] for prediction in predictions],
            "contributions": [
                to_json(prediction["contributions"]).decode() for prediction in predictions
            ],
            "changed_at": [change.changed_ms for change in changes],
            "captured_at": [change.captured_ms for change in changes],
            "judged_at": [change.judged_ms for change in changes],
            "consumed_at": [consumed_ms] * rows,
            "scored_at": [scored_ms] * rows,
        },
        scored_ms,
    )


def notification_payloads(patient_ids: Sequence[int]) -> Iterator[str]:
    """Yield the distinct ids as JSON lists, each short enough for one notification."""
    chunk: list[str] = []
    length = 0
    for text in map(str, dict.fromkeys(patient_ids)):
        if chunk and length + len(text) + 2 > _MAX_NOTIFICATION_LENGTH:
            yield f"[{','.join(chunk)}]"
            chunk, length = [], 0
        chunk.append(text)
        length += len(text) + 1
    if chunk:
        yield f"[{','.join(chunk)}]"
