"""What a caller may leave out, or leave behind: a time-out of its own, and a call that runs when its program is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from snakepit.errors import DeadlineExceeded
from snakepit.v1 import router_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller, rpc
from support.pool_of_one import ready, workers
from support.simulated_agent import POOL


@pytest.mark.parametrize(
    ("words", "noted"), [(("wait", "how=time.sleep"), "time.sleep"), (("pour", "--stream"), "pour")], ids=["call", "stream"]
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
async def test_the_tool_of_a_program_that_is_gone_stops_and_cleans_up(
    server: Running, caller: Caller, words: tuple[str, ...], noted: str, number: signal.Signals
) -> None:
    async with capsule(spec("support.waiting:Waiting"), server, pool=POOL):
        await ready(caller, 1)
        command = ("-m", "snakepit.cli", "call", POOL, *words, "--server", server.address, "--timeout", "600")
        program = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, start_new_session=True)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (await workers(caller))[0].running:
                    await asyncio.sleep(0.01)
            program.send_signal(number)
            assert await program.wait() == (-signal.SIGKILL if number is signal.SIGKILL else 130)
            assert list((await caller.call("noted")).json.list_value) == [noted]
        finally:
            if program.returncode is None:
                os.killpg(program.pid, signal.SIGKILL)


async def test_the_tools_own_time_out_counts_when_the_caller_gives_none_and_the_callers_otherwise(server: Running, caller: Caller) -> None:
    async with capsule(spec("support.authored:Timed"), server, pool=POOL):
        await ready(caller, 1)
        request = router_pb2.ExecuteRequest(pool=POOL, tool="short")
        request.json.update({"seconds": 600})
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(DeadlineExceeded):
                await rpc(caller.router.Execute(request))
        assert (await caller.call("short", {"seconds": 0.5})).json.string_value == "slept"


async def test_a_tool_knows_its_call_by_the_callers_name_for_it_and_has_a_deadline_though_the_caller_gave_none(
    server: Running, caller: Caller
) -> None:
    async with capsule(spec("support.authored:Timed"), server, pool=POOL):
        await ready(caller, 1)
        response = await rpc(caller.router.Execute(router_pb2.ExecuteRequest(pool=POOL, tool="named", json={})))
        assert list(response.json.list_value) == [response.call_id, True]
