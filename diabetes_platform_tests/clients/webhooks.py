"""A real webhook on 127.0.0.1 that records its requests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

SECRET = "T0SECRET"
"""A part of the URL's path that must not be shown anywhere."""


@dataclass
class Webhook:
    """A running webhook; it answers with `statuses` in turn, then with 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)

    @property
    def apprise_url(self) -> str:
        """The URL as Apprise writes it."""
        return self.url.replace("http", "json", 1)


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Run the server in a thread."""
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            webhook.paths.append(self.path)
            webhook.received.append(json.loads(body))
            self.send_response(webhook.statuses.pop(0) if webhook.statuses else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing: the default writes to stderr."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook.url = f"http://127.0.0.1:{server.server_port}/hook/{SECRET}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()
