"""What real workers print, log and raise is told by their agent to whoever asks a replica; also what a container said before it ended."""

from __future__ import annotations

import pytest

import snakepit
from snakepit.errors import ToolError
from support.capsules import LocalCapsule, capsule, spec
from support.control_plane import replica
from support.eventually import eventually
from support.simulated_agent import POOL


async def said(pool: snakepit.Pool, of: str, **which: str) -> list[str]:
    return [line.message for line in await pool.log_lines(of, **which)]


async def test_lines_are_those_of_a_call_a_worker_and_the_keeper_before() -> None:
    speaking = spec("support.speaking:Speaking")
    async with replica() as server, capsule(speaking, server, pool=POOL) as local, snakepit.Client(server.address) as client:
        pool = client.pool(POOL)
        await eventually(lambda: POOL in server.flow.pools and server.flow.pools[POOL].ready_workers)
        (worker,) = await pool.workers()
        for text in ("one", "two"):
            await pool.call("say", {"text": text})
        with pytest.raises(ToolError) as raised:
            await pool.call("fail", {"text": "three"})
        failed, one = raised.value.call_id, (await pool.calls(tool="say"))[-1].id
        await eventually(lambda: said(pool, worker.id, call_id=failed), "the collector has read it")
        assert await said(pool, worker.id, call_id=one) == ["one", "logged: one"]
        (line,) = await pool.log_lines(worker.id, call_id=failed)
        assert (line.level, line.tool, line.worker, line.call) == ("error", "fail", worker.id, failed)
        assert "LookupError: three" in line.exception
        assert (await said(pool, worker.id))[-5:] == ["one", "logged: one", "two", "logged: two", "raised LookupError: three"]
        assert await said(pool, worker.id.replace("/0", "/1")) == []
        await killed(local)
        await eventually(lambda: server.flow.pools[POOL].find(worker.id, worker.incarnation) is None)
        await pool.call("say", {"text": "four"}, timeout=20)

        async def both() -> bool:
            return {"one", "four"} <= set(await said(pool, worker.id))

        await eventually(both, "the next keeper's lines are there, beside those of the one before")


async def killed(local: LocalCapsule) -> None:
    """As a container that is out of memory: another takes its place."""
    assert local.keeper is not None
    local.keeper.kill()
    await local.keeper.wait()
    await local.start_keeper()
