"""A client of server-sent events that reads in a thread of its own."""

import json
import threading
import time
from typing import Any, Self

import httpx2

from serving.tests.conftest import wait_for


class Stream(threading.Thread):
    """Follows one patient until it is left; keeps events, ids, comments and when they came."""

    def __init__(self, base_url: str, patient_id: int, last: str | None = None) -> None:
        super().__init__()
        self._address = f"{base_url.rstrip('/')}/patients/{patient_id}/events"
        self._headers = {"last-event-id": last} if last else {}
        self._left = threading.Event()
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
        self._left.set()
        self.join(timeout=20)
        assert not self.is_alive()

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
                    if self._left.is_set():
                        return
        except httpx2.TransportError:
            pass  # the server ended: `ended` tells
        self.ended = True

    def wait_for_events(self, number: int) -> None:
        """Return once `number` events have come."""
        wait_for(lambda: len(self.events) >= number)
