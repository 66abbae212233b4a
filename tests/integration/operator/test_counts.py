"""How old the counts in a pool's status are: from a call that begins to the API server, by a real replica and the operator's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator

from snakepit.v1 import link_pb2
from snakepit_operator.controller import Controller
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage, pool_settings
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view
from support.admin import Admin
from support.api_server import SYSTEM
from support.control_plane import Caller, calling, replica
from support.eventually import eventually
from support.simulated_agent import SimulatedAgent, simulated_agent
from support.simulated_tools import success
from support.tasks import task

CALLS = 4
BEHIND_SECONDS = 1.0


class Stage:
    """A pool at zero, of which the test plays a capsule, whose calls run until they are let go."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.goes_on = asyncio.Event()
        self.took: list[float] = []

    async def held(self, agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        await self.goes_on.wait()
        return success(call.tool)

    async def says(self, busy: int) -> bool:
        return (await self.admin.pool()).get("status", {}).get("busySlots") == busy

    async def told(self, busy: int) -> None:
        """Until the status says so; how long that takes from now on is noted."""
        began = time.monotonic()
        await eventually(lambda: self.says(busy), f"the status says that {busy} slots are busy")
        self.took.append(time.monotonic() - began)


@contextlib.asynccontextmanager
async def stage(admin: Admin, kube: Kube) -> AsyncIterator[tuple[Stage, Caller]]:
    await admin.make_pool(replicas=0)
    on, name, given = Stage(admin), f"{admin.namespace}/digits", pool_settings(pool_view(await admin.pool()))
    async with replica() as server, calling(server.address) as caller:
        agent = AgentImage(image="agent:1", control_plane=server.address)
        leader = Controller(kube, Settings(namespace=SYSTEM, identity="me", agent=agent, watch_namespaces=(admin.namespace,)))
        async with task(leader.run()), simulated_agent(server.address, pool=name, settings=given, tools={"held": on.held}):
            await eventually(lambda: on.says(0), "the status has counts")
            yield on, caller


async def test_the_status_says_within_a_second_that_a_call_runs_and_that_it_has_ended(admin: Admin, kube: Kube) -> None:
    async with stage(admin, kube) as (on, caller):
        for _ in range(CALLS):
            on.goes_on.clear()
            call = asyncio.create_task(caller.call("held", pool=f"{admin.namespace}/digits"))
            await on.told(1)
            on.goes_on.set()
            await call
            await on.told(0)
    print(f"the status was behind by {[round(each, 2) for each in on.took]} s")
    assert statistics.median(on.took) < BEHIND_SECONDS, on.took
