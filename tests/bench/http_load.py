"""A load of HTTP requests, in a process of its own: so many connections, each with one request at a time, and all of them the same.

`python -m tests.bench.http_load URL BODY [NAME:VALUE...]` posts the body; a line of its input is a number of connections, and a line of
its output what became of a round of them, as JSON. It costs far less than those that answer: raw sockets, and a parser in C. An answer
that isn't 200 ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import httptools
import uvloop

from tests.bench.rounds import ROUND_SECONDS, Load


class Connection(asyncio.Protocol):
    """Asks again as soon as it is answered, until `end`; `done` is set then."""

    def __init__(self, request: bytes, load: Load, end: float) -> None:
        self._request = request
        self._load = load
        self._end = end
        self._body = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body = body

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if (status := self._parser.get_status_code()) != 200:
            self.done.set_exception(RuntimeError(f"answered {status}: {self._body!r}"))
        self._load.latencies.append(now - self._at)
        if now < self._end and not self.done.done():
            # The parser is still in its callback.
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("hung up on"))


def request(url: str, body: str, *headers: str) -> bytes:
    """Of HTTP/1.1, as it goes over the wire."""
    where = urlsplit(url)
    lines = [f"POST {where.path} HTTP/1.1", f"Host: {where.netloc}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", body]).encode()


async def round_of(url: str, message: bytes, connections: int, seconds: float = ROUND_SECONDS) -> Load:
    """Raises RuntimeError for an answer that isn't 200."""
    where, load, loop = urlsplit(url), Load(), asyncio.get_running_loop()
    began = time.perf_counter()
    making = [
        loop.create_connection(lambda: Connection(message, load, began + seconds), where.hostname, where.port) for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in await asyncio.gather(*making)))
    load.seconds = time.perf_counter() - began
    return load


def main(url: str, *words: str) -> None:
    """A line with nothing but the figures of a round, for each that asks for one."""
    message = request(url, *words)
    for line in sys.stdin:
        load = uvloop.run(round_of(url, message, int(line)))
        figures = {"calls": len(load.latencies), "per_second": load.per_second, "p50": load.quantile(0.5), "p99": load.quantile(0.99)}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
