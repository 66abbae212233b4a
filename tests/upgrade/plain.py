"""load.py by plain gRPC: generated stubs, and the retry policy of docs/clients.md, which lies beside this file.

Usage: that of load.py.
"""

import asyncio
import functools
import sys
from pathlib import Path

import grpc
import load
from google.protobuf.json_format import MessageToDict

import snakepit
from snakepit._wire.status import from_rpc_error
from snakepit.v1 import router_pb2, router_pb2_grpc, session_pb2, session_pb2_grpc

FOLDER = Path("/var/run/secrets/snakepit")
POLICY = Path(__file__).with_name("policy.json")


def bearer() -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {(FOLDER / 'token').read_text().strip()}"),)


class Pool:
    """As much of the SDK's pool, or of its session, as load.py uses."""

    def __init__(self, channel: grpc.aio.Channel, name: str, session: str = "") -> None:
        self._channel, self._name, self.id = channel, name, session

    def session(self, name: str) -> "Pool":
        return Pool(self._channel, self._name, name)

    async def create(self) -> None:
        await session_pb2_grpc.SessionServiceStub(self._channel).CreateSession(
            session_pb2.CreateSessionRequest(pool=self._name, session_id=self.id), metadata=bearer()
        )

    async def call(self, tool: str, arguments: dict[str, object], *, timeout: float) -> object:
        request = router_pb2.ExecuteRequest(pool=self._name, tool=tool, session_id=self.id)
        request.json.update(arguments)
        try:
            reply = await router_pb2_grpc.RouterServiceStub(self._channel).Execute(request, timeout=timeout, metadata=bearer())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        if reply.WhichOneof("outcome") == "tool_error":
            raise snakepit.SnakepitError(str(reply.tool_error))
        return MessageToDict(reply.json)


class Client:
    def __init__(self, server: str) -> None:
        self._server = server

    async def __aenter__(self) -> "Client":
        options, ca = [("grpc.service_config", POLICY.read_text())], FOLDER / "ca.crt"
        tls = grpc.ssl_channel_credentials(ca.read_bytes()) if ca.is_file() else None
        open_ = grpc.aio.insecure_channel if tls is None else functools.partial(grpc.aio.secure_channel, credentials=tls)
        self._channel = open_(self._server, options=options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    def pool(self, name: str) -> Pool:
        return Pool(self._channel, name)


if __name__ == "__main__":
    asyncio.run(load.main(Client(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), "".join(sys.argv[5:6])))
