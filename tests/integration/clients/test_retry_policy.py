"""The retry policy of docs/clients.md in gRPC's own client: what it sends again, and what the control plane tells it not to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from snakepit.errors import PoolNotReady, SnakepitError, Started, StoreUnavailable
from snakepit.v1 import router_pb2, router_pb2_grpc
from snakepit_control_plane.servers.rpc import handlers
from support.pages import blocks

POLICY = blocks("docs/clients.md", "json", "Trying again")[0].text
SERVICE = router_pb2.DESCRIPTOR.services_by_name["RouterService"]


class Refusing:
    """Refuses a call as often as there are errors, and answers it then."""

    def __init__(self, *errors: SnakepitError) -> None:
        self._errors = list(errors)
        self.attempts = 0

    async def Execute(self, request: router_pb2.ExecuteRequest, context: object) -> router_pb2.ExecuteResponse:  # noqa: N802
        self.attempts += 1
        if self._errors:
            raise self._errors.pop(0)
        return router_pb2.ExecuteResponse()

    async def ExecuteStream(self, request: object, context: object) -> None:  # noqa: N802
        raise AssertionError


@asynccontextmanager
async def client(refusing: Refusing) -> AsyncIterator[router_pb2_grpc.RouterServiceAsyncStub]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers(SERVICE, refusing)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.service_config", json.dumps(json.loads(POLICY)))]) as channel:
        yield router_pb2_grpc.RouterServiceStub(channel)
    await server.stop(None)


async def test_a_refusal_of_what_has_not_started_is_sent_again_until_it_is_answered() -> None:
    refusing = Refusing(PoolNotReady("just started"), StoreUnavailable("away", started=Started.NO))
    async with client(refusing) as router:
        await router.Execute(router_pb2.ExecuteRequest(), timeout=20)
    assert refusing.attempts == 3


@pytest.mark.parametrize("started", [Started.MAYBE, Started.YES])
async def test_a_refusal_whose_tool_may_have_run_is_not_sent_again(started: Started) -> None:
    refusing = Refusing(StoreUnavailable("away", started=started))
    async with client(refusing) as router:
        with pytest.raises(grpc.aio.AioRpcError, match="away"):
            await router.Execute(router_pb2.ExecuteRequest(), timeout=20)
    assert refusing.attempts == 1
