"""Callers whom a new certificate must not cost a call, in a pod as those of load.py: by links, with what is large, and by plain gRPC.

Usage: roll.py SERVER POOL CONCURRENCY SECONDS_PER_CALL SESSION
"""

import asyncio
import sys
from pathlib import Path

import grpc
import load

import snakepit
from snakepit.v1 import router_pb2, router_pb2_grpc

SERVER, POOL = sys.argv[1:3]
MOUNTED = Path("/var/run/secrets/snakepit")
LARGE = bytes(2 * 1024 * 1024)


class Sessionless(load.Caller):
    def __init__(self, account: load.Account, pool: snakepit.Pool, seconds: float, session: str) -> None:
        super().__init__(account, pool, seconds, "")


class Large(Sessionless):
    """Its calls travel in pieces, on connections beside its link."""

    async def call(self) -> None:
        await self._account.one(lambda: self._pool.call("weigh", {"value": LARGE}, timeout=load.CALL_SECONDS))


class Plain(Sessionless):
    """A connection for each call, as whoever comes and goes has it; with the files as they are then."""

    async def call(self) -> None:
        await self._account.one(self._execute)

    async def _execute(self) -> None:
        metadata = (("authorization", f"Bearer {(MOUNTED / 'token').read_text().strip()}"),)
        credentials = grpc.ssl_channel_credentials((MOUNTED / "ca.crt").read_bytes())
        # Else gRPC would take the connection of the call before, whose handshake was long ago.
        options = [("grpc.use_local_subchannel_pool", 1)]
        request = router_pb2.ExecuteRequest(pool=POOL, tool="weigh")
        request.json.update({"value": "plain"})
        try:
            async with grpc.aio.secure_channel(SERVER, credentials, options) as channel:
                await router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=load.CALL_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise snakepit.ServerUnavailable(f"{error.code().name} {error.details()}") from error


if __name__ == "__main__":
    kinds = (load.Caller, Large, Plain)
    asyncio.run(load.main(snakepit.Client(SERVER), POOL, int(sys.argv[3]), float(sys.argv[4]), sys.argv[5], kinds))
