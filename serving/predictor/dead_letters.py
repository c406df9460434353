"""The producer of dead letters: messages that cannot be scored, with their reasons."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, Message, Producer
from pydantic_core import to_json

from diabetes_platform.contract.topics import DEAD_LETTER_HEADERS, REJECTED_TOPIC, SINK_TOPIC
from serving.predictor.messages import ConsumedMessage

_DELIVERY_SECONDS = 3.0


class DeliveryError(Exception):
    """The broker has not acknowledged all dead letters."""


class DeadLetterProducer:
    """A producer to the topic of rejected messages."""

    def __init__(self, servers: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "client.id": "predictor",
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": int(_DELIVERY_SECONDS * 1000),
            }
        )

    def send(self, rejected: Sequence[ConsumedMessage]) -> None:
        """Return once the broker has acknowledged all messages.

        Raises DeliveryError otherwise; some messages may have been delivered.
        """
        failures: list[str] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        for message in rejected:
            self._produce(message, on_delivery)
        unacknowledged = self._producer.flush(_DELIVERY_SECONDS + 1)
        if failures or unacknowledged:
            reason = failures[0] if failures else "no acknowledgement"
            undelivered = len(failures) + unacknowledged
            raise DeliveryError(f"{undelivered} dead letters not delivered: {reason}")

    def _produce(
        self, message: ConsumedMessage, on_delivery: Callable[[KafkaError | None, Message], None]
    ) -> None:
        headers: dict[str, str | bytes | None] = {
            DEAD_LETTER_HEADERS.reasons: to_json(message.reasons),
            DEAD_LETTER_HEADERS.topic: SINK_TOPIC,
            DEAD_LETTER_HEADERS.partition: str(message.partition),
            DEAD_LETTER_HEADERS.offset: str(message.offset),
            DEAD_LETTER_HEADERS.rejected_ms: str(time.time_ns() // 1_000_000),
        }
        produce = partial(self._producer.produce, REJECTED_TOPIC, message.value, message.key)
        while True:
            try:
                return produce(headers=headers, on_delivery=on_delivery)
            except BufferError:
                self._producer.poll(0.1)
