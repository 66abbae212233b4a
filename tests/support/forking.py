"""A program that calls tools and forks: `python -m support.forking CASE SERVER`. It prints what each side of the fork was told."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import snakepit
from snakepit import sync

POOL = "default/test"


def say(who: str, ask: Callable[[], Any]) -> None:
    """The answer, or the error; sentences may name processes."""
    try:
        answer = ask()
    except snakepit.SnakepitError as error:
        answer = f"{type(error).__name__} {error.started.name}: {error}"
    print(f"{who}: {answer}".replace(f"process {MAIN} ", "process MAIN "), flush=True)


def ask(client: Any, value: int) -> Any:
    return client.pool(POOL).call("echo", {"value": value}, timeout=10)


async def aask(client: snakepit.Client, value: int) -> Any:
    return await client.pool(POOL).call("echo", {"value": value}, timeout=10)


def fresh(server: str, value: int) -> Any:
    with sync.Client(server) as client:
        return ask(client, value)


async def afresh(server: str, value: int) -> Any:
    async with snakepit.Client(server) as client:
        return await aask(client, value)


def in_child(method: str, work: Callable[..., None], *arguments: Any) -> None:
    """Run it in a child process, and say how that ended."""
    child = multiprocessing.get_context(method).Process(target=work, args=arguments)
    child.start()
    child.join(20)
    print(f"exit: {child.exitcode}", flush=True)


def child_uses(client: Any, pool: Any) -> None:
    say("child", lambda: pool.call("echo", {"value": 2}, timeout=10))
    say("child", lambda: client.pool(POOL))
    say("child", lambda: next(iter(pool.stream("count", {"to": 1}))))


def child_opens(server: str) -> None:
    say("child", lambda: fresh(server, 2))
    say("child", lambda: asyncio.run(afresh(server, 3)))


def case_sync(server: str) -> None:
    with sync.Client(server) as client:
        say("parent", lambda: ask(client, 1))
        in_child("fork", child_uses, client, client.pool(POOL))
        say("parent", lambda: ask(client, 4))


def case_leaves(server: str) -> None:
    """The child ends as a program does: it leaves the block of the client, and Python tidies up."""
    with sync.Client(server) as client:
        say("parent", lambda: ask(client, 1))
        stream = iter(client.pool(POOL).stream("count", {"to": 9}))
        next(stream)
        child = os.fork()
        if not child:
            sys.exit(7)
        print(f"exit: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)
        say("parent", lambda: list(stream))
        say("parent", lambda: ask(client, 4))


def case_async(server: str) -> None:
    async def main() -> None:
        async with snakepit.Client(server) as client:
            print(f"parent: {await aask(client, 1)}", flush=True)
            pool = client.pool(POOL)
            in_child("fork", lambda: say("child", lambda: asyncio.run(pool.call("echo", {"value": 2}, timeout=10))))
            in_child("fork", lambda: say("child", lambda: asyncio.run(client.close())))
            print(f"parent: {await aask(client, 4)}", flush=True)

    asyncio.run(main())


def case_inside(server: str) -> None:
    """The child goes on inside the coroutine that forked."""

    async def main() -> None:
        async with snakepit.Client(server) as client:
            print(f"parent: {await aask(client, 1)}", flush=True)
            pool = client.pool(POOL)
            child = os.fork()
            if not child:
                for work in (lambda: pool.call("echo", {}, timeout=10), lambda: pool.call("echo", {}), pool.tools, client.close):
                    try:
                        print(f"child: {await work()}", flush=True)
                    except snakepit.SnakepitError as error:
                        said = f"child: {type(error).__name__} {error.started.name}: {error}"
                        print(said.replace(MAIN, "MAIN"), flush=True)
                os._exit(7)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            print(f"exit: {os.waitstatus_to_exitcode(status)}", flush=True)
            print(f"parent: {await aask(client, 4)}", flush=True)

    asyncio.run(main())


def case_opens(server: str) -> None:
    with sync.Client(server) as client:
        say("parent", lambda: ask(client, 1))
        in_child("fork", child_opens, server)
        say("parent", lambda: ask(client, 4))


def case_spawns(server: str) -> None:
    with sync.Client(server) as client:
        say("parent", lambda: ask(client, 1))
        in_child("spawn", child_opens, server)
        say("parent", lambda: ask(client, 4))


def case_early(server: str) -> None:
    """Forked before gRPC was used."""
    in_child("fork", child_opens, server)
    say("parent", lambda: fresh(server, 4))


def case_loops(server: str) -> None:
    async def main() -> None:
        async with snakepit.Client(server) as client:
            print(f"first loop: {await aask(client, 1)}", flush=True)
            pool = client.pool(POOL)
            stream = pool.stream("count", {"to": 9})
            await anext(stream)

            def second() -> None:
                say("second loop", lambda: asyncio.run(pool.call("echo", {"value": 2}, timeout=10)))
                say("second loop", lambda: asyncio.run(pool.tools()))
                say("second loop", lambda: asyncio.run(stream.__anext__()))
                say("second loop", lambda: asyncio.run(client.close()))

            await asyncio.to_thread(second)
            print(f"first loop: {[chunk async for chunk in stream]}", flush=True)
            print(f"first loop: {await aask(client, 4)}", flush=True)

    asyncio.run(main())


def case_one_after_the_other(server: str) -> None:
    """A client that is left open when its loop ends; then another loop."""
    client = snakepit.Client(server)
    pools: list[snakepit.Pool] = []

    async def first() -> None:
        await client.__aenter__()
        pools.append(client.pool(POOL))
        print(f"first loop: {await aask(client, 1)}", flush=True)

    asyncio.run(first())
    say("second loop", lambda: asyncio.run(pools[0].call("echo", {"value": 2}, timeout=10)))
    say("second loop", lambda: asyncio.run(afresh(server, 3)))


def case_threads(server: str) -> None:
    """The blocking client is for all threads, also for one whose loop runs."""
    with sync.Client(server) as client:

        async def inside() -> Any:
            return ask(client, 1)

        answers: list[Any] = []
        threads = [threading.Thread(target=lambda n=n: answers.append(ask(client, n))) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        print(f"threads: {sorted(each['value'] for each in answers)}", flush=True)
        print(f"loop: {asyncio.run(inside())}", flush=True)


MAIN = os.environ.setdefault("FORKING_MAIN", str(os.getpid()))

if __name__ == "__main__":
    globals()[f"case_{sys.argv[1]}"](sys.argv[2])
