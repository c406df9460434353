"""What cannot be scored goes to the topic of rejected messages, with its reasons."""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from diabetes_platform.contract.events import DEAD_LETTER_HEADERS, REJECTED_TOPIC
from serving.predictor.messages import Rejected, reasons_json

_DELIVERY_SECONDS = 10.0


class DeliveryError(Exception):
    """The broker has not taken all dead letters."""


class DeadLetters:
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

    def send(self, letters: Sequence[Rejected]) -> None:
        """Return once the broker has them all; else DeliveryError, and some may have arrived."""
        failures: list[str] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        for letter in letters:
            while True:
                try:
                    self._producer.produce(
                        REJECTED_TOPIC,
                        key=letter.key,
                        value=letter.value,
                        headers=_headers(letter),
                        on_delivery=delivered,
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        left = self._producer.flush(_DELIVERY_SECONDS + 1)
        if failures or left:
            reason = failures[0] if failures else "no answer"
            raise DeliveryError(f"{len(failures) + left} dead letters not delivered: {reason}")


def _headers(letter: Rejected) -> list[tuple[str, str | bytes | None]]:
    names, place = DEAD_LETTER_HEADERS, letter.place
    return [
        (names.reasons, reasons_json(letter)),
        (names.topic, place.topic),
        (names.partition, str(place.partition)),
        (names.offset, str(place.offset)),
        (names.rejected_ms, str(time.time_ns() // 1_000_000)),
    ]
