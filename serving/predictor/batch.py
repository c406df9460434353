"""From the messages of a batch to what is stored of them. Pure functions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from serving.app.served_model import ServedModel
from serving.predictor.messages import Change, Deleted

_LONGEST_NOTIFICATION = 7000
"""PostgreSQL takes less than 8,000 bytes."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a batch comes to: `deleted` patients' predictions go, then `changes` are scored."""

    changes: tuple[Change, ...]
    deleted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows for `serving.predictions`: its columns, `stored_at` apart, as equally long lists.

    Times are milliseconds since 1970.
    """

    columns: dict[str, list[Any]]
    scored_ms: float

    @property
    def ids(self) -> list[int]:
        """The patients, in the order of the rows."""
        return self.columns["intake_id"]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.ids)


def settle(messages: Sequence[Change | Deleted]) -> Settled:
    """Bring messages, in the order of each patient's partition, to what is left of them."""
    changes: dict[tuple[int, int], Change] = {}
    deleted: dict[int, None] = {}
    last_deletion = {
        message.intake_id: at for at, message in enumerate(messages) if isinstance(message, Deleted)
    }
    for at, message in enumerate(messages):
        if isinstance(message, Deleted):
            deleted[message.intake_id] = None
        elif at > last_deletion.get(message.intake_id, -1):
            changes.setdefault((message.intake_id, message.source_lsn), message)
    return Settled(tuple(changes.values()), tuple(deleted))


def score(
    changes: Sequence[Change], model: ServedModel, *, consumed_ms: float, clock: Callable[[], float]
) -> Scored:
    """Ask `model` of each change; all rows carry its version and the same times of scoring."""
    answers = model.predict_all([one.patient for one in changes], with_contributions=True)
    scored_ms, rows = clock(), len(changes)
    return Scored(
        {
            "intake_id": [one.intake_id for one in changes],
            "source_lsn": [one.source_lsn for one in changes],
            "model_version": [answer["model_version"] for answer in answers],
            "probability": [answer["probability"] for answer in answers],
            "result": [answer["result"] for answer in answers],
            "contributions": [to_json(answer["contributions"]).decode() for answer in answers],
            "changed_at": [one.changed_ms for one in changes],
            "captured_at": [one.captured_ms for one in changes],
            "judged_at": [one.judged_ms for one in changes],
            "consumed_at": [consumed_ms] * rows,
            "scored_at": [scored_ms] * rows,
        },
        scored_ms,
    )


def notifications(ids: Sequence[int]) -> Iterator[str]:
    """Yield the ids as JSON lists, each short enough for one notification."""
    part: list[str] = []
    length = 0
    for text in map(str, dict.fromkeys(ids)):
        if part and length + len(text) + 2 > _LONGEST_NOTIFICATION:
            yield f"[{','.join(part)}]"
            part, length = [], 0
        part.append(text)
        length += len(text) + 1
    if part:
        yield f"[{','.join(part)}]"
