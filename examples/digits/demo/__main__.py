"""The demo: a pool, real calls, HTTP, MCP, a stream, a session, a killed worker, a clean stop. Exit 0 only if all was as it should be.

`python examples/digits/demo` runs it on this machine; `--server ADDRESS` on a cluster where the pool is applied.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

import steps
from cluster import Cluster
from front_door import call_without_us
from laptop import POOL_FILE, Laptop
from transcript import Transcript

import snakepit

INTERRUPTED = 130


async def walk(place: steps.Place, out: Transcript) -> None:
    async with snakepit.Client(place.server, connect_timeout=steps.READY_SECONDS) as client:
        pool = client.pool(steps.POOL)
        await steps.wait_until_ready(pool, out)
        images = await steps.classify_all(pool, out)
        if place.gateway:
            await call_without_us(pool, place.gateway, images[0], out)
        await steps.stream(pool, out)
        await steps.kill_the_sessions_worker(pool, place, out)


async def on_this_machine(out: Transcript, laptop: Laptop) -> None:
    async with laptop:
        try:
            await walk(laptop, out)
            await laptop.show_clean_stop(out)
        except (TimeoutError, snakepit.SnakepitError, ExceptionGroup) as error:
            out.expect(False, f"it ended early: {error!r}")
            out.say(laptop.last_words())


async def main(server: str | None) -> int:
    """The exit status. The first Ctrl-C stops in good order, the second at once."""
    # The pool is started while its client dials already: refused connections are no news here.
    logging.getLogger("snakepit").setLevel(logging.ERROR)
    out = Transcript()
    began = time.monotonic()
    laptop = Laptop()
    work = asyncio.create_task(walk(Cluster(server), out) if server else on_this_machine(out, laptop))
    _on_interrupt(work, laptop)
    try:
        await work
    except asyncio.CancelledError:
        print("\nstopped; nothing is left running", file=sys.stderr)
        return INTERRUPTED
    out.heading("All of it was as it should be" if not out.wrong else f"{len(out.wrong)} things were not as they should be")
    out.say(f"the demo took {time.monotonic() - began:.0f} s")
    if not server:
        out.say("to see the pool's console in your browser, open the address that this prints first:")
        out.say(f"  {_shown(Path(sys.executable).with_name('snakepit'))} dev {_shown(POOL_FILE)}")
    return 1 if out.wrong else 0


def _shown(path: Path) -> str:
    """As somebody types it who has started the demo."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _on_interrupt(work: asyncio.Task[None], laptop: Laptop) -> None:
    interrupts: list[int] = []

    def interrupt(number: int) -> None:
        interrupts.append(number)
        if len(interrupts) == 1:
            work.cancel()
        else:
            laptop.kill()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--server", help="a control plane's address, host:port; default: a pool on this machine")
    try:
        sys.exit(asyncio.run(main(parser.parse_args().server)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
