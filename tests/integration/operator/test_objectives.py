"""What a pool has promised, from a call that breaks it to kubectl: the operator with a real control plane and a real API server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from snakepit._wire.status import to_frame
from snakepit.errors import WorkerLost
from snakepit.v1 import link_pb2
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube, Object
from snakepit_operator.pods import AgentImage, pool_settings
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view
from support.admin import Admin
from support.api_server import SYSTEM
from support.control_plane import Caller, calling, replica
from support.eventually import eventually
from support.simulated_agent import SimulatedAgent, simulated_agent
from support.simulated_tools import TOOLS
from support.tasks import task

SLO = {"availabilityPercent": 50, "latencyMilliseconds": 60_000}


class Stage:
    """A pool at zero, of which the test plays a capsule."""

    def __init__(self, admin: Admin, reconciler: Reconciler, agent: SimulatedAgent, caller: Caller) -> None:
        self.admin, self.reconciler, self.agent, self.caller = admin, reconciler, agent, caller
        self.name = f"{admin.namespace}/digits"

    async def says(self, reason: str) -> Object | None:
        """The pool, if its condition has that reason now."""
        self.agent.report()
        await self.reconciler.reconcile(self.name, time.time())
        pool = await self.admin.pool()
        return pool if reason in [each["reason"] for each in pool["status"]["conditions"] if each["type"] == "ObjectivesMet"] else None


@contextlib.asynccontextmanager
async def stage(admin: Admin, kube: Kube) -> AsyncIterator[Stage]:
    await admin.make_pool(replicas=0, slo=SLO)
    raw = await admin.pool()
    name, given = f"{admin.namespace}/digits", pool_settings(pool_view(raw))
    async with replica() as server, calling(server.address) as caller:
        settings = Settings(namespace=SYSTEM, identity="me", agent=AgentImage(image="agent:1"), watch_namespaces=(admin.namespace,))
        fleet = Fleet(server.address, lambda pool, essential: None)
        reconciler = Reconciler(kube, settings, fleet)
        reconciler.listed({name: raw}, {}, reconciler.seen())
        async with task(fleet.run()):
            await fleet.heard.wait()
            tools = {**TOOLS, "lost": lost}
            async with simulated_agent(server.address, pool=name, settings=given, tools=tools) as agent:
                yield Stage(admin, reconciler, agent, caller)


async def test_a_worker_that_died_is_an_event(admin: Admin, kube: Kube) -> None:
    async with stage(admin, kube) as on:
        await eventually(lambda: on.says("TooFewCalls"), "the operator has seen the worker")
        on.agent.replace_worker(next(iter(on.agent.lives)), "OOMKilled")

        async def told() -> list[Object]:
            await on.says("")
            return [each for each in await admin.every("events") if each["reason"] == "WorkersEnded"]

        (event,) = await eventually(told, "an Event says that it died")
        assert (event["type"], event["count"]) == ("Warning", 1)
        assert "want of memory" in event["message"]


async def lost(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    return link_pb2.Result(error=to_frame(WorkerLost("the worker ended: out of memory")))


async def test_a_budget_that_is_spent_is_in_status_condition_event_and_column(admin: Admin, kube: Kube) -> None:
    async with stage(admin, kube) as on:
        await eventually(lambda: on.says("TooFewCalls"), "nothing is said of no calls")
        for _ in range(2):
            await on.caller.call("echo", pool=on.name)
        pool = await eventually(lambda: on.says("WithinBudget"), "two calls went well")
        assert pool["status"]["slo"]["availability"] == {"targetPercent": 50, "budgetLeftPercent": 100}
        assert pool["status"]["slo"]["latency"] == {"targetPercent": 99}
        for _ in range(4):
            with pytest.raises(WorkerLost):
                await on.caller.call("lost", pool=on.name)
        pool = await eventually(lambda: on.says("BudgetSpent"), "four of six went wrong")
        assert pool["status"]["slo"]["budgetLeftPercent"] == -34
        (ready,) = [each for each in pool["status"]["conditions"] if each["type"] == "Ready"]
        assert ready["reason"] != "BudgetSpent"
        (event,) = [each for each in await admin.every("events") if each["reason"] == "BudgetSpent"]
        assert (event["type"], event["count"]) == ("Warning", 1)
        code, said = await admin.kubectl("get", "sp", "-o", "wide")
        header, row = (line.split() for line in said.splitlines())
        assert (code, row[header.index("BUDGET")]) == (0, "-34")
        assert "-34" in (await admin.kubectl("describe", "sp"))[1]
        assert "BUDGET" not in (await admin.kubectl("get", "sp"))[1]
