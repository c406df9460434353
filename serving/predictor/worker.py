"""The predictor's loop: receive, score, store, let the offsets pass.

Whatever a batch needs and does not get (database, model, broker) is tried again until it is there.
Meanwhile the partitions rest and the group keeps this member; nothing is passed over.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import psycopg

from serving.app.champion import ChampionWatcher
from serving.predictor.batch import Scored, Settled, score, settle
from serving.predictor.dead_letters import DeadLetters, DeliveryError
from serving.predictor.hops import seconds_of
from serving.predictor.inbox import Inbox, Received
from serving.predictor.messages import Rejected
from serving.predictor.metrics import PredictorMetrics
from serving.predictor.state import State
from serving.predictor.store import PredictionStore

logger = logging.getLogger("serving.predictor.worker")

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0


class NoModelError(Exception):
    """No model has been released yet."""


class StoppedError(Exception):
    """The predictor is told to end while it waits."""


_CAUSES: dict[type[Exception], str] = {
    psycopg.Error: "database",
    NoModelError: "model",
    DeliveryError: "dead_letters",
}


def now_ms() -> float:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() / 1e6


class Worker:
    """One predictor's work, in a thread of its own."""

    def __init__(
        self,
        inbox: Inbox,
        store: PredictionStore,
        dead_letters: DeadLetters,
        watcher: ChampionWatcher,
        metrics: PredictorMetrics,
        *,
        batch: int,
    ) -> None:
        self.state = State()
        self._inbox, self._store, self._dead_letters = inbox, store, dead_letters
        self._watcher, self._metrics, self._batch = watcher, metrics, batch
        self._stopped = threading.Event()
        self._next_look = 0.0

    def stop(self) -> None:
        """Let `run` end after the batch in hand, or in the midst of a wait."""
        self._stopped.set()

    def run(self) -> None:
        """Work until `stop`; raises what cannot be helped by waiting."""
        try:
            self._inbox.subscribe()
            while not self._stopped.is_set():
                messages = self._inbox.receive(self._batch, _POLL_SECONDS)
                if messages:
                    self._take(messages, consumed_ms=now_ms())
                self._look(idle=not messages)
        except StoppedError:
            logger.info("ended while waiting: what was received is read again")
        finally:
            self._inbox.close()
            self._store.close()

    def _take(self, messages: list[Received], *, consumed_ms: float) -> None:
        self._until_done(messages, self._reject)
        self._until_done(messages, partial(self._predict, consumed_ms=consumed_ms))

    def _reject(self, messages: list[Received]) -> None:
        rejected = [one.content for one in messages if isinstance(one.content, Rejected)]
        if rejected:
            self._dead_letters.send(rejected)
            self._metrics.rejected.inc(len(rejected))
            logger.warning("%d messages cannot be read: see the dead letters", len(rejected))

    def _predict(self, messages: list[Received], *, consumed_ms: float) -> None:
        settled = settle([one.content for one in messages if not isinstance(one.content, Rejected)])
        model = self._watcher.current
        if model is None:
            raise NoModelError("no model has been released yet")
        scored = score(settled.changes, model, consumed_ms=consumed_ms, clock=now_ms)
        new = self._store.write(scored, settled.deleted)
        self._inbox.done_with(messages)
        self._tell(settled, scored, new=new, messages=len(messages), consumed_ms=consumed_ms)

    def _until_done(self, messages: list[Received], step: Callable[[list[Received]], None]) -> None:
        """Repeat `step` until it succeeds; raises StoppedError where the predictor is to end first.

        What goes to another member meanwhile is its to do: written late, it could bring back a
        patient whom that member has deleted.
        """
        wait = _FIRST_WAIT_SECONDS
        while kept := self._inbox.keep(messages):
            try:
                step(kept)
            except tuple(_CAUSES) as error:
                self._wait(error, wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
            else:
                break
        self._well()
        self._inbox.go_on()

    def _wait(self, error: Exception, seconds: float) -> None:
        self._failed(error)
        self._metrics.waiting.set(1)
        self._inbox.wait(seconds)
        self._look(idle=False)
        if self._stopped.is_set():
            raise StoppedError

    def _failed(self, error: Exception) -> None:
        cause = next(name for kind, name in _CAUSES.items() if isinstance(error, kind))
        self._metrics.failures.labels(cause).inc()
        problem = f"{cause}: {_in_one_line(error)}"
        if problem != self.state.problem:
            logger.warning("waiting, and trying again: %s", problem)
        self.state.problem = problem

    def _well(self) -> None:
        self._metrics.waiting.set(0)
        if self.state.problem is not None:
            logger.info("going on")
        self.state.problem = None

    def _look(self, *, idle: bool) -> None:
        """Once in a while: show the lag and, where no batch does it, ask for the database."""
        if time.monotonic() < self._next_look:
            return
        self.state.joined, self.state.partitions = self._inbox.joined, self._inbox.partitions
        self._metrics.lags(self._inbox.lags())
        if idle:
            try:
                self._store.check()
            except psycopg.Error as error:
                self._failed(error)
            else:
                self.state.checked = True
                self._well()
        self._next_look = time.monotonic() + _LOOK_SECONDS

    def _tell(
        self, settled: Settled, scored: Scored, *, new: int, messages: int, consumed_ms: float
    ) -> None:
        stored_ms, metrics = now_ms(), self._metrics
        self.state.checked = True
        metrics.predictions.inc(new)
        metrics.replayed.inc(scored.rows - new)
        metrics.deletions.inc(len(settled.deleted))
        metrics.batch_rows.observe(messages)
        metrics.batch_seconds.observe((stored_ms - consumed_ms) / 1000)
        for change in settled.changes:
            metrics.observe_hops(
                seconds_of(
                    change,
                    consumed_ms=consumed_ms,
                    scored_ms=scored.scored_ms,
                    stored_ms=stored_ms,
                )
            )


def _in_one_line(error: Exception) -> str:
    if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.OperationalError):
        # Its text may quote the row.
        return f"{type(error).__name__} ({error.sqlstate})"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
