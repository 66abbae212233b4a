"""How to make the real control plane produce each row of the table in snakepit.errors: one producer a reason.

A producer sets the stage, and gives a request that fails for as long as the stage stands: as plain gRPC writes it, and as the SDK does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakepit import Client, SnakepitError, Started
from snakepit._wire import Dialer
from snakepit.spec import encode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.server import make_store
from support.control_plane import eventually, replica
from support.dev_server import Dev, pool_file
from support.issuer import issuer, pod_claims, signed
from support.ports import free_port
from support.simulated_agent import POOL, SimulatedAgent, pool_spec, settings, simulated_agent

Sdk = Callable[[Client], Awaitable[Any]]
Producer = Callable[[Dev], contextlib.AbstractAsyncContextManager["Failing"]]

EXECUTE = "RouterService/Execute"
LINK = "LinkService/Link"
_HELLO = {"hello": {"protocol": 1, "role": "ROLE_CLIENT"}}
_SIXTY = {"arguments": {"content_type": "application/json", "data": base64.b64encode(b'{"seconds": 60}').decode()}, "timeout_seconds": 60}
SECONDS = 20.0


@dataclass(frozen=True)
class Failing:
    """`made_by_client`: gRPC's own end says so, without a word from a control plane. `one_connection`: what to hold open beside the
    request, on the same connection. `by_link`: a LinkRequest that fails likewise, for whoever can't do that, or where it has no RPC; the
    error comes in a frame then. `started`: other than the row says. `headers`: metadata."""

    address: str
    request: dict[str, Any]
    sdk: Sdk
    method: str = EXECUTE
    made_by_client: bool = False
    one_connection: dict[str, Any] = field(default_factory=dict)
    by_link: dict[str, Any] = field(default_factory=dict)
    started: Started | None = None
    headers: tuple[tuple[str, str], ...] = ()


PRODUCERS: dict[str, Producer] = {}


def pools(folder: Path) -> list[Path]:
    """The pool files that the producers want in `snakepit dev`."""
    sample = "support.sample:Sample"
    usual = {"restart": "{maxRestarts: 50}", "replicas": "1"}
    return [
        pool_file(folder, "usual", sample, session="{maxSessions: 2, maxKeys: 1}", **usual),
        pool_file(folder, "full", sample, queue="{maxSize: 1, timeoutSeconds: 60}", call="{maxConcurrentPerCaller: 2}", **usual),
        pool_file(folder, "alone", "support.asking:Asking", **usual),
        pool_file(folder, "deep", "support.asking:Asking", worker="profile: thread, threads: 20", **usual),
        pool_file(folder, "quick", sample, queue="{timeoutSeconds: 0.2}", call="{timeoutSeconds: 0.6}", **usual),
    ]


def produces(reason: str) -> Callable[[Callable[[Dev], AsyncIterator[Failing]]], None]:
    def register(make: Callable[[Dev], AsyncIterator[Failing]]) -> None:
        PRODUCERS[reason] = contextlib.asynccontextmanager(make)

    return register


def calling(address: str, pool: str, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> Failing:
    """A call that fails, in both spellings; without a deadline of its own."""
    request = {"pool": f"default/{pool}", "tool": tool, "json": arguments or {}}
    return Failing(address, request, lambda client: client.pool(pool).call(tool, arguments), **options)


@contextlib.asynccontextmanager
async def running(address: str, pool: str, calls: int = 1) -> AsyncIterator[Client]:
    """Somebody else's calls that take for ever; the first of them runs, the others wait."""
    async with Client(address) as client:
        tasks = [asyncio.create_task(client.pool(pool).call("sleep", {"seconds": 60}, timeout=60)) for _ in range(calls)]
        await until(client, pool, busy_slots=1, queue_depth=calls - 1)
        try:
            yield client
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await until(client, pool, busy_slots=0, queue_depth=0)


async def until(client: Client, pool: str, **expected: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            info = await client.pool(pool).info()
            if all(getattr(info, name) == value for name, value in expected.items()):
                return
            await asyncio.sleep(0.01)


# ---- against `snakepit dev` with real workers


@produces("INVALID_ARGUMENTS")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "usual", "add", {"a": "one"})


@produces("POOL_NOT_FOUND")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "usaul", "add")


@produces("TOOL_NOT_FOUND")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "usual", "ecko")


@produces("SESSION_NOT_FOUND")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    request = {"pool": "default/usual", "session_id": "nobody"}
    yield Failing(dev.server, request, lambda client: client.pool("usual").session("nobody").info(), "SessionService/GetSession")


@produces("CALL_NOT_FOUND")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    request = {"pool": "default/usual", "call_id": "nobody"}
    yield Failing(dev.server, request, lambda client: client.pool("usual").call_info("nobody"), "CallService/GetCall")


@produces("POOL_SATURATED")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with running(dev.server, "full", calls=2):
        yield calling(dev.server, "full", "echo")


@produces("CALLER_LIMIT")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with Client(dev.server) as other:
        hold = {"pool": "default/full", "tool": "sleep", "json": {"seconds": 60}}

        async def at_once(client: Client) -> None:
            pool = client.pool("full")
            await until(other, "full", busy_slots=0)
            tasks = [asyncio.create_task(pool.call("sleep", {"seconds": 60})) for _ in range(2)]
            try:
                await until(other, "full", busy_slots=1, queue_depth=1)
                await pool.call("echo")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await until(other, "full", busy_slots=0)

        request = {"pool": "default/full", "tool": "echo", "json": {}}
        holding = [{"call": {"id": n, "call_id": f"held-{n}", "pool": "default/full", "tool": "sleep", **_SIXTY}} for n in (1, 2)]
        third = {"call": {"id": 3, "call_id": "third", "pool": "default/full", "tool": "echo", **_SIXTY}}
        linked = {"frames": [_HELLO, *holding, third]}
        yield Failing(dev.server, request, at_once, one_connection=hold, by_link=linked)
        await until(other, "full", busy_slots=0)


@produces("QUEUE_TIMEOUT")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with running(dev.server, "quick"):
        yield calling(dev.server, "quick", "echo")


@produces("DEADLINE")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with Client(dev.server) as other:

        async def spin(client: Client) -> None:
            await until(other, "quick", busy_slots=0)  # The tool of the call before may still be stopping, and this queue is short.
            await client.pool("quick").call("spin")

        yield Failing(dev.server, {"pool": "default/quick", "tool": "spin", "json": {}}, spin)
        await until(other, "quick", busy_slots=0)


@produces("WORKER_BUSY")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with Client(dev.server) as client, client.pool("usual").session("s", affinity="strict_fail_fast", delete=True) as session:
        await session.call("echo")
        request = {"pool": "default/usual", "tool": "echo", "json": {}, "session_id": "s", "affinity": "AFFINITY_STRICT_FAIL_FAST"}
        async with running(dev.server, "usual"):
            yield Failing(dev.server, request, lambda c: c.pool("usual").session("s", affinity="strict_fail_fast").call("echo"))


@produces("SESSION_WORKER_UNAVAILABLE")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with Client(dev.server) as client, client.pool("usual").session("s", affinity="strict_queue", delete=True) as session:
        with contextlib.suppress(SnakepitError):
            await session.call("exit", {"code": 3})
        request = {"pool": "default/usual", "tool": "echo", "json": {}, "session_id": "s", "affinity": "AFFINITY_STRICT_QUEUE"}
        yield Failing(dev.server, request, lambda c: c.pool("usual").session("s", affinity="strict_queue").call("echo"))


@produces("WORKER_LOST")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "usual", "exit", {"code": 3})


@produces("SESSION_QUOTA")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with Client(dev.server) as client:
        pool = client.pool("usual")
        async with pool.session("one", delete=True), pool.session("two", delete=True):
            request = {"pool": "default/usual", "session_id": "three"}
            yield Failing(dev.server, request, lambda c: c.pool("usual").session("three").create(), "SessionService/CreateSession")


@produces("STATE_QUOTA")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with Client(dev.server) as client, client.pool("usual").session("s", delete=True) as session:
        await session.state.set("one", 1)
        request = {"pool": "default/usual", "session_id": "s", "key": "two", "value": {"json": 2}}
        yield Failing(dev.server, request, lambda c: c.pool("usual").session("s").state.set("two", 2), "SessionService/SetState")


@produces("DEADLOCK")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "alone", "deeper", {"left": 1}, started=Started.YES)  # the tool that called itself has


@produces("CALL_TOO_DEEP")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "deep", "deeper", {"left": 17}, started=Started.YES)


@produces("TOOL_QUOTA")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    def tool_of(name: str) -> Callable[[], None]:
        def function() -> None: ...

        function.__name__ = name
        return function

    async def offer(client: Client) -> None:
        async with client.offer([tool_of(f"tool_{i}") for i in range(300)], pool="usual"):
            pass

    tools = [{"name": f"tool_{i}", "input_schema": "{}"} for i in range(300)]
    offered = {"offer": {"id": 1, "provider": "by-hand", "pool": "default/usual", "tools": tools}}
    yield Failing(dev.server, {}, offer, by_link={"frames": [_HELLO, offered]})


@produces("TOOL_ERROR")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(dev.server, "usual", "fail", {"message": "gone fishing"})


# ---- against a replica in the test's own process


@produces("PAYLOAD_TOO_LARGE")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with replica(max_payload_bytes=1000) as server, simulated_agent(server.address):
        yield calling(server.address, "test", "echo", {"text": "x" * 2000})


@produces("POOL_NOT_READY")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    failing = {"state": pool_pb2.WORKER_STATE_BACKOFF, "reason": "SetupFailed", "message": "no model here"}
    async with replica() as server, simulated_agent(server.address, **failing):
        yield calling(server.address, "test", "echo")


@produces("STORE_UNAVAILABLE")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with replica(make_store(f"redis://127.0.0.1:{free_port()}/0")) as server, simulated_agent(server.address):
        request = {"pool": POOL, "session_id": "s"}
        yield Failing(server.address, request, lambda client: client.pool(POOL).session("s").info(), "SessionService/GetSession")


def answering(reason: str) -> Producer:
    """An agent that answers with this reason, as one does that has lost a result on its way, was told to stop, or is newer."""

    async def refuse(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        error = common_pb2.Error(reason=reason, message="the agent said so", started=common_pb2.STARTED_MAYBE, details={"how": "so"})
        return link_pb2.Result(error=error)

    async def make(dev: Dev) -> AsyncIterator[Failing]:
        async with replica() as server, simulated_agent(server.address, tools={"refuse": refuse}):
            yield calling(server.address, "test", "refuse")

    return contextlib.asynccontextmanager(make)


PRODUCERS["CANCELLED"] = answering("CANCELLED")
PRODUCERS["REPLICA_LOST"] = answering("REPLICA_LOST")
PRODUCERS["INTERNAL"] = answering("A_REASON_OF_A_NEWER_RELEASE")


@produces("SERVER_UNAVAILABLE")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield calling(f"127.0.0.1:{free_port()}", "any", "echo", made_by_client=True)


# ---- of links: agents and SDKs see these when they dial


def dialling(address: str, hello: dict[str, Any], *headers: tuple[str, str]) -> Failing:
    message = link_pb2.Hello(**{**hello, "role": link_pb2.Role.Value(hello["role"])})

    async def dial(client: Client) -> None:
        dialer = Dialer(
            address,
            lambda _: message,
            lambda link, frames: None,
            lambda replica: None,
            lambda replica, reason: None,
            metadata=lambda: headers,
        )
        dialer.start()
        try:
            await eventually(lambda: dialer.last_error, "the link is refused")
        finally:
            await dialer.stop()
        assert dialer.last_error is not None
        raise dialer.last_error

    return Failing(address, {"frames": [{"hello": hello}]}, dial, "LinkService/Link", headers=headers)


@produces("PROTOCOL_MISMATCH")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    yield dialling(dev.server, {"protocol": 99, "role": "ROLE_CLIENT"})


@produces("DRAINING")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    async with replica() as server:
        stop = asyncio.create_task(server.stop(linger=60, drain=0))
        await eventually(lambda: server.stopping)
        yield dialling(server.address, {"protocol": 1, "role": "ROLE_CLIENT"})
        stop.cancel()
        await asyncio.gather(stop, return_exceptions=True)
        await server.stop(linger=0, drain=0)


@produces("STALE_EPOCH")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    quick = {"intervalSeconds": 0.1, "timeoutSeconds": 2, "missThreshold": 2}
    async with replica() as server:
        agent = SimulatedAgent(server.address, settings=settings(heartbeat=quick), beat_seconds=0.05)
        await agent.start()
        agent.silent = True
        await eventually(lambda: agent.incarnation not in server.flow.pools[POOL].capsules)
        await agent.stop()
        spec = {"pool": POOL, "uid": "uid-1", "generation": 1, "spec": encode_spec(pool_spec(heartbeat=quick))}
        capsule = {"name": agent.name, "incarnation": agent.incarnation, "pool": POOL, "settings": spec}
        yield dialling(server.address, {"protocol": 1, "role": "ROLE_AGENT", "capsule": capsule})


def claiming(address: str, *headers: tuple[str, str]) -> Failing:
    """Somebody says that it is a capsule of the pool."""
    return dialling(address, {"protocol": 1, "role": "ROLE_AGENT", "capsule": {"name": "test-0", "pool": POOL}}, *headers)


@produces("UNAUTHENTICATED")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    with tempfile.TemporaryDirectory() as folder, issuer(Path(folder)) as signs:
        async with replica(authentication=signs.settings()) as server:
            yield claiming(server.address)


@produces("PERMISSION_DENIED")
async def _(dev: Dev) -> AsyncIterator[Failing]:
    with tempfile.TemporaryDirectory() as folder, issuer(Path(folder)) as signs:
        async with replica(authentication=signs.settings()) as server:
            yield claiming(server.address, ("authorization", f"Bearer {signed(pod_claims('others-0', 'default/others'))}"))
