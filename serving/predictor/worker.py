"""The predictor's loop: consume, score, store, commit offsets.

If a batch cannot be processed (database, model or broker missing), the worker retries until it
can. Meanwhile it pauses its partitions and stays in the consumer group. No message is skipped.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import psycopg
from confluent_kafka import KafkaException

from diabetes_platform.contract.change_events import Invalid
from serving.app.champion import ChampionWatcher
from serving.predictor.consumer import PredictionConsumer
from serving.predictor.dead_letters import DeadLetterProducer, DeliveryError
from serving.predictor.messages import ConsumedMessage
from serving.predictor.metrics import PredictorMetrics, stage_seconds
from serving.predictor.prediction_table import PredictionStore
from serving.predictor.scoring import plan_batch, score_changes
from serving.predictor.status import PredictorState

logger = logging.getLogger("serving.predictor.worker")

_POLL_SECONDS = 0.2
_CHECK_SECONDS = 1.0
_FIRST_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 2.0


class NoModelError(Exception):
    """No model has been released yet."""


class StoppedError(Exception):
    """The worker was stopped while it waited for a retry."""


_CAUSES: dict[type[Exception], str] = {
    psycopg.Error: "database",
    NoModelError: "model",
    DeliveryError: "dead_letters",
}


def now_ms() -> float:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() / 1e6


class Worker:
    """The loop of one predictor, run in its own thread."""

    def __init__(
        self,
        consumer: PredictionConsumer,
        store: PredictionStore,
        dead_letters: DeadLetterProducer,
        watcher: ChampionWatcher,
        metrics: PredictorMetrics,
        *,
        batch_size: int,
    ) -> None:
        self.state = PredictorState()
        self._consumer, self._store, self._dead_letters = consumer, store, dead_letters
        self._watcher, self._metrics, self._batch_size = watcher, metrics, batch_size
        self._stopped = threading.Event()
        self._next_check = 0.0

    def stop(self) -> None:
        """Make `run` return after the current batch, or immediately if it waits for a retry."""
        self._stopped.set()

    def run(self) -> None:
        """Process batches until `stop`; raise errors that a retry cannot solve."""
        try:
            self._consumer.subscribe()
            while not self._stopped.is_set():
                messages = self._consumer.poll(self._batch_size, _POLL_SECONDS)
                if messages:
                    consumed_ms = now_ms()
                    self._update_assignment()
                    self._retry(messages, self._reject_invalid)
                    self._retry(messages, partial(self._predict, consumed_ms=consumed_ms))
                self._update_state(idle=not messages)
        except StoppedError:
            logger.info("stopped during a retry: the batch will be consumed again")
        finally:
            self._consumer.close()
            self._store.close()

    def _reject_invalid(self, messages: list[ConsumedMessage]) -> None:
        rejected = [message for message in messages if isinstance(message.content, Invalid)]
        if rejected:
            self._dead_letters.send(rejected)
            self._metrics.rejected.inc(len(rejected))
            logger.warning("%d invalid messages sent to the dead letters", len(rejected))

    def _predict(self, messages: list[ConsumedMessage], *, consumed_ms: float) -> None:
        contents = [message.content for message in messages]
        changes, deleted = plan_batch(
            [content for content in contents if not isinstance(content, Invalid)]
        )
        model = self._watcher.current
        if model is None:
            raise NoModelError("no model has been released yet")
        rows, scored_ms = score_changes(changes, model, consumed_ms=consumed_ms, clock=now_ms)
        new_rows = self._store.write(rows, deleted)
        self._consumer.commit(messages)
        stored_ms = now_ms()
        metrics = self._metrics
        self.state.database_checked = True
        metrics.predictions.inc(new_rows)
        metrics.replayed.inc(len(rows) - new_rows)
        metrics.deletions.inc(len(deleted))
        metrics.batch_rows.observe(len(messages))
        metrics.batch_seconds.observe((stored_ms - consumed_ms) / 1000)
        for change in changes:
            latencies = stage_seconds(
                change, consumed_ms=consumed_ms, scored_ms=scored_ms, stored_ms=stored_ms
            )
            metrics.observe_stages(latencies)

    def _retry(
        self, messages: list[ConsumedMessage], step: Callable[[list[ConsumedMessage]], None]
    ) -> None:
        """Repeat `step` until it succeeds; raise StoppedError if the worker is stopped first.

        If a partition moves to another member in the meantime, that member processes its messages:
        a late write from here could restore a patient whom that member has deleted.
        """
        delay = _FIRST_RETRY_SECONDS
        while assigned := self._consumer.assigned(messages):
            try:
                step(assigned)
            except tuple(_CAUSES) as error:
                self._pause(error, delay)
                delay = min(2 * delay, _MAX_RETRY_SECONDS)
            else:
                break
        self._clear_problem()
        self._consumer.resume()

    def _pause(self, error: Exception, seconds: float) -> None:
        self._report(error)
        self._metrics.waiting.set(1)
        self._consumer.pause(seconds)
        self._update_state(idle=False)
        if self._stopped.is_set():
            raise StoppedError

    def _report(self, error: Exception) -> None:
        cause = next(name for kind, name in _CAUSES.items() if isinstance(error, kind))
        self._metrics.failures.labels(cause).inc()
        problem = f"{cause}: {_one_line(error)}"
        if problem != self.state.problem:
            logger.warning("retrying: %s", problem)
        self.state.problem = problem

    def _clear_problem(self) -> None:
        self._metrics.waiting.set(0)
        if self.state.problem is not None:
            logger.info("recovered")
        self.state.problem = None

    def _update_state(self, *, idle: bool) -> None:
        """Update state and lag every `_CHECK_SECONDS`; when idle, check the database too."""
        if time.monotonic() < self._next_check:
            return
        self._update_assignment()
        self._metrics.set_lags(self._consumer.lags())
        if idle:
            try:
                self._store.check()
            except psycopg.Error as error:
                self._report(error)
            else:
                self.state.database_checked = True
                self._clear_problem()
        self._next_check = time.monotonic() + _CHECK_SECONDS

    def _update_assignment(self) -> None:
        state, consumer = self.state, self._consumer
        partitions = consumer.partitions
        try:
            unassigned = not partitions and consumer.topic_partitions() > 0
        except KafkaException:
            unassigned = True
        state.joined, state.partitions, state.unassigned = consumer.joined, partitions, unassigned


def _one_line(error: Exception) -> str:
    if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.OperationalError):
        # Its text may contain the row.
        return f"{type(error).__name__} ({error.sqlstate})"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
