"""Calls of a pool that is deleted while they are on their way: each is told what became of it, and soon."""

from __future__ import annotations

from snakepit.errors import PoolNotFound, Started, WorkerLost
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, eventually, outcome
from support.simulated_agent import POOL, simulated_agent

HOURS = 3600.0
"""The deadline of calls that are told long before."""


def delete(server: Running) -> None:
    """As the operator says it."""
    server.fleet.sync([], complete=True, drain=[])
    assert POOL not in server.flow.pools


async def test_what_runs_goes_on(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        call = caller.start("hang", timeout=HOURS)
        await eventually(lambda: agent.running)
        delete(server)
        agent.let_go()
        assert (await outcome(call)).json.string_value == "late"


async def test_what_runs_is_lost_with_its_agent_which_is_let_in_no_more(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        call = caller.start("hang", timeout=HOURS)
        await eventually(lambda: agent.running)
        delete(server)
    error = await outcome(call)
    assert isinstance(error, WorkerLost)
    assert error.started is Started.MAYBE
    assert "its pool has been deleted, and its agent has gone" in error.message
    assert not server.flow.calls.count


async def test_what_may_run_again_has_nowhere_to(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, idempotent=frozenset({"hang"})) as agent:
        call = caller.start("hang", timeout=HOURS)
        await eventually(lambda: agent.running)
        delete(server)
    error = await outcome(call)
    assert isinstance(error, PoolNotFound)
    assert (error.message, error.started) == (f"pool {POOL} has been deleted", Started.MAYBE)


async def test_what_its_agent_gives_back_does_not_wait(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        taken = list[link_pb2.Call]()
        agent.on_call = taken.append
        call = caller.start("echo", timeout=HOURS)
        await eventually(lambda: taken)
        delete(server)
        agent.send(reject=link_pb2.Reject(id=taken[0].id, reason="NO_SLOT"))
        error = await outcome(call)
        assert isinstance(error, PoolNotFound)
        assert error.started is Started.NO
