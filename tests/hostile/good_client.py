"""A good client: it calls all the time, whichever way there is, and says at each line of its input how that went since the line before."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from snakepit import Client
from snakepit.v1 import router_pb2, router_pb2_grpc

POOL = "default/sample"
PATIENCE_SECONDS = 15.0
ALONE = [("grpc.use_local_subchannel_pool", 1)]


class Diary:
    """What has happened since it was read last."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.errors: list[str] = []

    async def keep(self, way: str, pause: float, call: Callable[[], Awaitable[Any]]) -> None:
        """Make that call, again and again."""
        while True:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await call()
            except Exception as error:
                self.errors.append(f"{way}: {type(error).__name__}: {str(error)[:300]}")
            self.seconds.setdefault(way, []).append(time.perf_counter() - began)
            await asyncio.sleep(pause)

    def read(self) -> dict[str, Any]:
        read = {
            "errors": self.errors[:10],
            "failed": len(self.errors),
            "calls": {way: len(each) for way, each in self.seconds.items()},
            "p50": {way: _part(each, 0.5) for way, each in self.seconds.items()},
            "p99": {way: _part(each, 0.99) for way, each in self.seconds.items()},
        }
        self.seconds, self.errors = {}, []
        return read


def _part(seconds: list[float], part: float) -> float:
    """In milliseconds."""
    return round(sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * part))] * 1000, 1)


def channel_to(server: str, certificates: dict[str, Any], own: str = "") -> grpc.aio.Channel:
    """With TLS where there are certificates, and with one of its own where that is said."""
    if not certificates.get("ca"):
        return grpc.aio.insecure_channel(server, options=ALONE)
    key, chain = (Path(own, name).read_bytes() for name in ("tls.key", "tls.crt")) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(Path(certificates["ca"]).read_bytes(), key, chain)
    return grpc.aio.secure_channel(server, credentials, options=ALONE)


async def main(server: str, token_file: str, said: str) -> None:
    certificates = json.loads(said)
    metadata = (("authorization", f"Bearer {await asyncio.to_thread(Path(token_file).read_text)}"),)

    async def plain(channel: grpc.aio.Channel, metadata: Any = metadata) -> None:
        request = router_pb2.ExecuteRequest(pool=POOL, tool="echo")
        request.json.update({"value": 1})
        await router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=PATIENCE_SECONDS, metadata=metadata)

    async def newcomer() -> None:
        async with channel_to(server, certificates) as channel:
            await plain(channel)

    async def certificate() -> None:
        """A newcomer, too, at the port for them."""
        async with channel_to(f"127.0.0.1:{certificates['port']}", certificates, certificates["ada"]) as channel:
            await plain(channel, ())

    async with Client(server, token_file=token_file) as client, channel_to(server, certificates) as channel:
        pool = client.pool(POOL)
        async with pool.session("good", delete=True) as session:
            diary, number = Diary(), 0

            async def link() -> None:
                nonlocal number
                number += 1
                assert await pool.call("echo", {"value": number}) == number

            async def stream() -> None:
                assert [each async for each in pool.stream("count", {"to": 3})] == [0, 1, 2]

            async def large() -> None:
                assert len(await pool.call("echo", {"value": b"x" * 600_000})) == 600_000

            ways = [("link", 0.02, link), ("session", 0.1, lambda: session.call("echo", {"value": 1})), ("stream", 0.1, stream)]
            ways += [("plain", 0.05, lambda: plain(channel)), ("newcomer", 0.25, newcomer), ("large", 0.4, large)]
            ways += [("certificate", 0.25, certificate)] if certificates.get("ca") else []
            tasks = [asyncio.create_task(diary.keep(*way)) for way in ways]
            while line := await asyncio.to_thread(sys.stdin.readline):
                if line:
                    print(json.dumps(diary.read()), flush=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
