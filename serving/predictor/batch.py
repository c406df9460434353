"""From a batch of messages to rows of `serving.predictions`. Pure functions."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from diabetes_platform.contract.change_events import Deletion
from serving.app.served_model import ServedModel
from serving.predictor.messages import Change

PredictionRow = dict[str, Any]

_MAX_NOTIFICATION_LENGTH = 7000
"""PostgreSQL's limit is 8,000 bytes."""


def plan_batch(messages: Sequence[Change | Deletion]) -> tuple[list[Change], list[int]]:
    """Return the changes to score, and the patients whose predictions to delete before.

    The messages are in order for each patient. The plan leaves out repeated changes, and changes
    that precede a patient's last deletion.
    """
    changes: dict[tuple[int, int], Change] = {}
    last_deletion = {
        message.id: index for index, message in enumerate(messages) if isinstance(message, Deletion)
    }
    for index, message in enumerate(messages):
        if isinstance(message, Change) and index > last_deletion.get(message.image.id, -1):
            changes.setdefault((message.image.id, message.image.lsn), message)
    return list(changes.values()), list(last_deletion)


def score_changes(
    changes: Sequence[Change], model: ServedModel, *, consumed_ms: float, clock: Callable[[], float]
) -> tuple[list[PredictionRow], float]:
    """Return the changes' rows of `serving.predictions` without `stored_at`, and the scoring time.

    All rows have the model's version and the same scoring time. Times are ms since 1970.
    """
    images = [change.image for change in changes]
    predictions = model.predict_all([image.image for image in images], with_contributions=True)
    scored_ms = clock()
    rows = [
        {
            "intake_id": image.id,
            "source_lsn": image.lsn,
            "model_version": prediction["model_version"],
            "probability": prediction["probability"],
            "result": prediction["result"],
            "contributions": prediction["contributions"],
            "changed_at": _time(image.changed_ms),
            "captured_at": _time(image.captured_ms),
            "judged_at": _time(image.judged_ms),
            "consumed_at": _time(consumed_ms),
            "scored_at": _time(scored_ms),
        }
        for image, prediction in zip(images, predictions, strict=True)
    ]
    return rows, scored_ms


def _time(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


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
