"""A good client: it calls all the time, whichever way there is, and says at each line of its input how that went since the line before.

After a line that says "rest" it doesn't call until the next line comes.
"""

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

from hostile.undisturbed import MEASURED
from snakepit import Client, Session
from snakepit.v1 import router_pb2, router_pb2_grpc

POOL = "default/sample"
PATIENCE_SECONDS = 15.0
REST_SECONDS = 1.0
"""Calls have been answered by then, and connections of newcomers closed."""

ALONE = [("grpc.use_local_subchannel_pool", 1)]


class Diary:
    """What has happened since it was read last."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self.calling = asyncio.Event()
        self.calling.set()

    async def keep(self, way: str, pause: float, call: Callable[[], Awaitable[Any]]) -> None:
        """Make that call, again and again."""
        while await self.calling.wait():
            began = time.perf_counter()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await call()
            except Exception as error:
                self.errors.append(f"{way}: {type(error).__name__}: {str(error)[:300]}")
            self.seconds.setdefault(way, []).append(time.perf_counter() - began)
            await asyncio.sleep(pause)

    def read(self) -> dict[str, Any]:
        read = {"errors": self.errors[:10], "failed": len(self.errors), "seconds": self.seconds}
        self.seconds, self.errors = {}, []
        return read


def channel_to(server: str, certificates: dict[str, Any], own: str = "") -> grpc.aio.Channel:
    """With TLS where there are certificates, and with one of its own where that is said."""
    if not certificates:
        return grpc.aio.insecure_channel(server, options=ALONE)
    key, chain = (Path(own, name).read_bytes() for name in ("tls.key", "tls.crt")) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(Path(certificates["ca"]).read_bytes(), key, chain)
    return grpc.aio.secure_channel(server, credentials, options=ALONE)


class Good:
    """Each way to call."""

    def __init__(self, server: str, token: str, certificates: dict[str, Any], client: Client, session: Session) -> None:
        self._server = server
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._certificates = certificates
        self._pool, self._session = client.pool(POOL), session
        self._channel = channel_to(server, certificates)
        self._number = 0

    def ways(self) -> list[tuple[str, float, Callable[[], Awaitable[Any]]]]:
        """With the seconds between two."""
        often = 0.005 if MEASURED else 0.02
        ways: list[tuple[str, float, Callable[[], Awaitable[Any]]]] = [("link", often, self.link), ("session", 0.1, self.session)]
        ways += [("stream", 0.1, self.stream), ("plain", 0.05, self.plain), ("newcomer", 0.25, self.newcomer)]
        ways += [("large", 0.4, self.large), ("keyed", 0.5, self.keyed)]
        return ways + ([("certificate", 0.25, self.certificate)] if self._certificates else [])

    async def link(self) -> None:
        self._number += 1
        assert await self._pool.call("echo", {"value": self._number}) == self._number

    async def session(self) -> None:
        await self._session.call("echo", {"value": 1})

    async def stream(self) -> None:
        assert [each async for each in self._pool.stream("count", {"to": 3})] == [0, 1, 2]

    async def large(self) -> None:
        assert len(await self._pool.call("echo", {"value": b"x" * 600_000})) == 600_000

    async def keyed(self) -> None:
        """It has the results of others forgotten, once they have expired."""
        assert await self._pool.call("echo", {"value": 1}, idempotency_key=f"good {self._number}") == 1

    async def plain(self) -> None:
        await self._execute(self._channel, self._metadata)

    async def newcomer(self) -> None:
        async with channel_to(self._server, self._certificates) as channel:
            await self._execute(channel, self._metadata)

    async def certificate(self) -> None:
        """A newcomer, too, at the port for them."""
        server, own = f"127.0.0.1:{self._certificates['port']}", self._certificates["ada"]
        async with channel_to(server, self._certificates, own) as channel:
            await self._execute(channel, ())

    async def _execute(self, channel: grpc.aio.Channel, metadata: Any) -> None:
        request = router_pb2.ExecuteRequest(pool=POOL, tool="echo")
        request.json.update({"value": 1})
        await router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=PATIENCE_SECONDS, metadata=metadata)


async def main(server: str, token_file: str, certificates: str) -> None:
    token = await asyncio.to_thread(Path(token_file).read_text)
    async with Client(server, token_file=token_file) as client, client.pool(POOL).session("good", delete=True) as session:
        diary, good = Diary(), Good(server, token, json.loads(certificates), client, session)
        tasks = [asyncio.create_task(diary.keep(*way)) for way in good.ways()]
        while word := await asyncio.to_thread(sys.stdin.readline):
            if word == "rest\n":
                diary.calling.clear()
                await asyncio.sleep(REST_SECONDS)
            else:
                diary.calling.set()
            print(json.dumps(diary.read()), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
