"""From a batch of messages to rows of `serving.predictions`. Pure functions."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from diabetes_platform.contract.change_events import Deletion
from serving.app.served_model import ServedModel
from serving.predictor.messages import ConsumedChange

PredictionRow = dict[str, Any]

_MAX_NOTIFICATION_LENGTH = 7000
"""PostgreSQL's limit is 8,000 bytes."""


def plan_batch(
    contents: Sequence[ConsumedChange | Deletion],
) -> tuple[list[ConsumedChange], list[int]]:
    """Return the changes to score, and the patients whose predictions to delete before.

    The messages are in order for each patient. The plan leaves out repeated changes, and changes
    that precede a patient's last deletion.
    """
    changes: dict[tuple[int, int], ConsumedChange] = {}
    last_deletion = {
        content.id: index for index, content in enumerate(contents) if isinstance(content, Deletion)
    }
    for index, content in enumerate(contents):
        if isinstance(content, ConsumedChange):
            message = content.message
            if index > last_deletion.get(message.id, -1):
                changes.setdefault((message.id, message.lsn), content)
    return list(changes.values()), list(last_deletion)


def score_changes(
    changes: Sequence[ConsumedChange],
    model: ServedModel,
    *,
    consumed_ms: float,
    clock: Callable[[], float],
) -> tuple[list[PredictionRow], float]:
    """Return the changes' rows of `serving.predictions` without `stored_at`, and the scoring time.

    All rows have the model's version and the same scoring time. Times are ms since 1970.
    """
    messages = [change.message for change in changes]
    predictions = model.predict_all(
        [message.image for message in messages], with_contributions=True
    )
    scored_ms = clock()
    rows = [
        {
            "intake_id": message.id,
            "source_lsn": message.lsn,
            "model_version": prediction["model_version"],
            "probability": prediction["probability"],
            "result": prediction["result"],
            "contributions": prediction["contributions"],
            "changed_at": _time(message.changed_ms),
            "captured_at": _time(message.captured_ms),
            "judged_at": _time(message.judged_ms),
            "consumed_at": _time(consumed_ms),
            "scored_at": _time(scored_ms),
            "image_digest": message.digest,
        }
        for message, prediction in zip(messages, predictions, strict=True)
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
