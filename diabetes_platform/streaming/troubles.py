"""When something that is wrong with the stream is worth an alert: once it lasts. Pure.

A service that is killed is back in seconds by itself, and nobody is called for that.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

LASTING_MS = 60_000
"""What lasts a minute is told, and is over when it was not seen for a minute."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong now: with whom (the same words each time), and how, in one line."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Lasting:
    """A trouble that was seen before: since when, last when (ms since 1970), and if it was told."""

    subject: str
    text: str
    since_ms: int
    last_ms: int
    told: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What there is to tell now, in the order of the subjects."""

    began: tuple[Lasting, ...]
    ended: tuple[Lasting, ...]


def follow(
    known: Iterable[Lasting], troubles: Iterable[Trouble], now_ms: int
) -> tuple[tuple[Lasting, ...], Change]:
    """Return what is remembered after a look that saw `troubles`, and what there is to tell."""
    before = {one.subject: one for one in known}
    seen = {one.subject: one for one in troubles}
    after, began, ended = [], [], []
    for subject in sorted(before.keys() | seen.keys()):
        lasting = _seen(before.get(subject), seen.get(subject), now_ms)
        if now_ms - lasting.last_ms >= LASTING_MS or (subject not in seen and not lasting.told):
            if lasting.told:
                ended.append(lasting)
            continue
        if not lasting.told and now_ms - lasting.since_ms >= LASTING_MS:
            lasting = replace(lasting, told=True)
            began.append(lasting)
        after.append(lasting)
    return tuple(after), Change(tuple(began), tuple(ended))


def _seen(before: Lasting | None, now: Trouble | None, now_ms: int) -> Lasting:
    if now is None:
        assert before is not None  # noqa: S101 - one of both is there
        return before
    since_ms = now_ms if before is None else min(before.since_ms, now_ms)
    told = before is not None and before.told
    return Lasting(now.subject, now.text, since_ms, now_ms, told)
