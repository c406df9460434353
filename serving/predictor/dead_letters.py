"""The producer of dead letters: messages that cannot be scored, with their reasons."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from diabetes_platform.contract.events import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from serving.predictor.messages import Rejected, reasons_json

_DELIVERY_SECONDS = 10.0


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

    def send(self, rejected: Sequence[Rejected]) -> None:
        """Return once the broker has acknowledged all messages.

        Raises DeliveryError otherwise; some messages may have been delivered.
        """
        failures: list[str] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        for message in rejected:
            while True:
                try:
                    self._producer.produce(
                        REJECTED_TOPIC,
                        key=message.key,
                        value=message.value,
                        headers=_headers(message),
                        on_delivery=on_delivery,
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        unacknowledged = self._producer.flush(_DELIVERY_SECONDS + 1)
        if failures or unacknowledged:
            reason = failures[0] if failures else "no acknowledgement"
            undelivered = len(failures) + unacknowledged
            raise DeliveryError(f"{undelivered} dead letters not delivered: {reason}")


def _headers(message: Rejected) -> list[tuple[str, str | bytes | None]]:
    names, metadata = DEAD_LETTER_HEADERS, message.metadata
    return [
        (names.reasons, reasons_json(message)),
        (names.topic, metadata.topic),
        (names.partition, str(metadata.partition)),
        (names.offset, str(metadata.offset)),
        (names.rejected_ms, str(time.time_ns() // 1_000_000)),
    ]
