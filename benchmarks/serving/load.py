"""A load generator with keep-alive connections; each sends its next request after a response.

It runs in its own process, so that it takes no time from the server: `python -m
benchmarks.serving.load PORT SECONDS CONNECTIONS` reads request bodies from standard input (one JSON
line each) and prints one JSON document.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator
from http import HTTPStatus
from time import perf_counter
from typing import cast

import httptools
import uvloop


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float]) -> None:
        self._requests = requests
        self._latencies = latencies
        self._sent = 0.0
        self._open = True
        self.failures = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # uvloop's transport is no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._send_next()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls `on_message_complete`."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Record the latency and send the next request, or stop."""
        self._latencies.append(perf_counter() - self._sent)
        self.failures += self._parser.get_status_code() != HTTPStatus.OK
        if self._open:
            self._send_next()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Count a connection closed by the server as a failure."""
        if not self.done.done():
            self.failures += 1
            self.done.set_result(None)
        del error

    def stop(self) -> None:
        """Stop after the response to the current request."""
        self._open = False

    def _send_next(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent = perf_counter()
        self._transport.write(next(self._requests))


async def drive(
    port: int, seconds: float, connections: int, bodies: list[bytes]
) -> dict[str, float]:
    """Return requests per second, requests, failures and latency percentiles in milliseconds."""
    loop = asyncio.get_running_loop()
    requests = itertools.cycle([_request(body) for body in bodies])
    latencies: list[float] = []
    connected = [
        await loop.create_connection(lambda: Connection(requests, latencies), "127.0.0.1", port)
        for _ in range(connections)
    ]
    protocols = [protocol for _, protocol in connected]
    started, warm_up = perf_counter(), len(latencies)
    await asyncio.sleep(seconds)
    elapsed, responses = perf_counter() - started, len(latencies) - warm_up
    for protocol in protocols:
        protocol.stop()
    await asyncio.wait_for(asyncio.gather(*(protocol.done for protocol in protocols)), 10)
    ordered = sorted(latencies)
    return {
        "per_second": responses / elapsed,
        "requests": len(latencies),
        "failures": sum(protocol.failures for protocol in protocols),
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(0.99 * len(ordered))],
    }


def _request(body: bytes) -> bytes:
    return (
        b"POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )


if __name__ == "__main__":
    port, seconds, connections = sys.argv[1:]
    lines = sys.stdin.buffer.read().splitlines()
    json.dump(uvloop.run(drive(int(port), float(seconds), int(connections), lines)), sys.stdout)
