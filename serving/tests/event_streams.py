"""A client of server-sent events that reads in its own thread."""

import json
import threading
import time
from typing import Any, Self

import httpx2

from serving.tests.clients import wait_until


class EventStream(threading.Thread):
    """Follows one patient within a `with` block; records events, ids, comments and arrival times.

    `ended` is set if the server ends the stream.
    """

    def __init__(self, base_url: str, patient_id: int, last_event_id: str | None = None) -> None:
        super().__init__()
        self._address = f"{base_url.rstrip('/')}/patients/{patient_id}/events"
        self._headers = {"last-event-id": last_event_id} if last_event_id else {}
        self._closed = threading.Event()
        self.opened = threading.Event()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ids: list[str] = []
        self.arrived: list[float] = []
        self.heartbeats = 0
        self.ended = False

    def __enter__(self) -> Self:
        self.start()
        assert self.opened.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.join(timeout=20)
        assert not self.is_alive()

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events, in order."""
        return [kind for kind, _ in self.events]

    def run(self) -> None:
        try:
            with httpx2.stream(
                "GET", self._address, headers=self._headers, timeout=30, trust_env=False
            ) as response:
                assert response.status_code == 200, response.status_code
                assert response.headers["content-type"].startswith("text/event-stream")
                kind = ""
                for line in response.iter_lines():
                    self.opened.set()
                    name, _, value = line.partition(": ")
                    if line.startswith(":"):
                        self.heartbeats += 1
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        self.arrived.append(time.perf_counter())
                        self.events.append((kind, json.loads(value)))
                    elif name == "id":
                        self.ids.append(value)
                    if self._closed.is_set():
                        return
        except httpx2.TransportError:
            pass  # the server closed the connection
        self.ended = True

    def wait_for_events(self, number: int) -> None:
        """Return once `number` events have arrived."""
        wait_until(lambda: len(self.events) >= number)
