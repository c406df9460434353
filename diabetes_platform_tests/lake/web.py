"""Servers of the tests' own: one that answers as HTTP servers do, one that answers as S3 does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = b"what the server holds"


class Web(ThreadingHTTPServer):
    """Remembers each request's target as it was sent."""

    targets: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    """`/status/N` answers N, `/moved` leads on, `/cut` breaks off; all else gives CONTENT."""

    server: Web

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/status/"):
            self.send_error(int(path.removeprefix("/status/")))
        elif path == "/moved":
            self._answer({"Location": "/there?key=s3cret", "Content-Length": "0"}, b"", 302)
        elif path == "/elsewhere":
            self._answer({"Location": "ftp://u:s3cret@host/", "Content-Length": "0"}, b"", 302)
        elif path == "/cut":
            self._answer({"Content-Length": str(len(CONTENT) + 1)}, CONTENT)
        elif path == "/endless":
            self._answer({}, CONTENT)
        else:
            length = {"Content-Length": str(len(CONTENT))}
            self._answer({**length, "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, CONTENT)

    def _answer(self, headers: dict[str, str], body: bytes, status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The default writes to stderr."""


@contextmanager
def serving() -> Iterator[Web]:
    with Web(("127.0.0.1", 0), Answers) as server:
        server.targets = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
