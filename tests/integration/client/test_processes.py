"""A client in a forked child, and in a second event loop: it works, or says in one sentence why not. Real forks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from support.control_plane import replica
from support.simulated_agent import simulated_agent

ADVICE = "start processes with multiprocessing's spawn or forkserver method, and open a Client in each"
OPENED = f"child: SnakepitError NO: this Client was opened in process MAIN and does not survive a fork: {ADVICE}"
IN_USE = f"child: SnakepitError NO: gRPC was in use in process MAIN when this one was forked from it, and does not survive that: {ADVICE}"
LOOP = (
    "second loop: SnakepitError NO: this Client was opened in another event loop and works only there: open one in each loop, "
    "or use snakepit.sync.Client, which all threads may share"
)


async def said(case: str) -> list[str]:
    """What the program prints: it ends by itself, with status 0 and without a complaint."""
    async with replica() as server, simulated_agent(server.address):
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = (sys.executable, "-W", "ignore::DeprecationWarning", "-m", "support.forking", case, server.address)
        program = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, "PYTHONPATH": path},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(40):
                out, complaints = await program.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # Its children too.
            await program.wait()
    assert (program.returncode, complaints.decode()) == (0, "")
    return out.decode().splitlines()


def answer(value: int) -> str:
    return str({"value": value})


async def test_a_blocking_client_in_a_forked_child_says_why_not_and_the_parents_goes_on() -> None:
    assert await said("sync") == [f"parent: {answer(1)}", OPENED, OPENED, OPENED, "exit: 0", f"parent: {answer(4)}"]


async def test_a_forked_child_that_ends_inside_the_clients_block_takes_nothing_down() -> None:
    numbers = f"parent: {list(range(1, 9))}"
    assert await said("leaves") == [f"parent: {answer(1)}", "exit: 7", numbers, f"parent: {answer(4)}"]


async def test_an_asynchronous_client_in_a_forked_child_says_why_not_and_closing_it_there_does_nothing() -> None:
    assert await said("async") == [f"parent: {answer(1)}", OPENED, "exit: 0", "child: None", "exit: 0", f"parent: {answer(4)}"]


async def test_a_child_that_was_forked_inside_a_coroutine_says_why_not() -> None:
    assert await said("inside") == [f"parent: {answer(1)}", OPENED, OPENED, OPENED, "child: None", "exit: 7", f"parent: {answer(4)}"]


async def test_a_new_client_in_a_child_forked_while_grpc_ran_says_why_not() -> None:
    assert await said("opens") == [f"parent: {answer(1)}", IN_USE, IN_USE, "exit: 0", f"parent: {answer(4)}"]


async def test_a_child_that_is_spawned_opens_its_own() -> None:
    assert await said("spawns") == [f"parent: {answer(1)}", f"child: {answer(2)}", f"child: {answer(3)}", "exit: 0", f"parent: {answer(4)}"]


async def test_a_child_that_was_forked_before_the_first_client_opens_its_own() -> None:
    assert await said("early") == [f"child: {answer(2)}", f"child: {answer(3)}", "exit: 0", f"parent: {answer(4)}"]


async def test_a_client_in_a_second_loop_says_why_not_and_the_first_loops_goes_on() -> None:
    first = [f"first loop: {list(range(1, 9))}", f"first loop: {answer(4)}"]
    assert await said("loops") == [f"first loop: {answer(1)}", LOOP, LOOP, LOOP, LOOP, *first]


async def test_a_client_whose_loop_has_ended_says_why_not_in_the_next() -> None:
    assert await said("one_after_the_other") == [f"first loop: {answer(1)}", LOOP, f"second loop: {answer(3)}"]


async def test_the_blocking_client_is_for_all_threads_also_for_one_whose_loop_runs() -> None:
    assert await said("threads") == [f"threads: {list(range(8))}", f"loop: {answer(1)}"]
