"""Reaches every replica of a release in a cluster: kubectl forwards a local port to each, and a forward that ends is begun again.

A port stays its replica's, or becomes that of the one which took its place: who has linked to it links to that one next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from snakepit.cli.config import Kube
from snakepit.cli.forward import Forward, forwarding, login, to_service
from snakepit.cli.kubectl import program
from snakepit.cli.reach import Reach
from snakepit.cli.release import Service, chosen, replicas, services
from snakepit.errors import ServerUnavailable

AGAIN_SECONDS = 1.0
"""Until a forward that has ended is begun again, or a replica is looked for that has none."""

MOST_FORWARDS = 16
"""Each is a kubectl here, and a connection of the API server's."""


@contextlib.asynccontextmanager
async def forwarded_to_each(kube: Kube, reach: Reach, *, with_token: bool) -> AsyncIterator[Forward | Forwards]:
    """Forward a port to each replica until the block is left; where nobody may list them, to the release's Service, which `reach` says.

    Raises ServerUnavailable, and InvalidArguments where several releases are meant.
    """
    kubectl = program(kube)
    service = chosen(await services(kubectl, kube), kube)
    names, problem = await replicas(kubectl, service)
    if len(names) < 2:
        reach.problem = f"kubectl can't list the others: {problem}" if problem else ""
        async with to_service(kubectl, service, kube, with_token=with_token) as forward:
            yield forward
        return
    async with login(kubectl, service, kube, with_token=with_token) as (ca_file, token_file):
        forwards = Forwards(kubectl, service, reach, ca_file, token_file)
        try:
            await forwards.begin(names)
            yield forwards
        finally:
            await forwards.stop()


class Forwards:
    """To several replicas; as a `Forward`, to whoever has a client of it."""

    def __init__(self, kubectl: list[str], service: Service, reach: Reach, ca_file: str, token_file: str | None) -> None:
        self.ca_file, self.token_file, self.server_name = ca_file, token_file, service.server_name
        self.address = ""
        self._kubectl, self._service, self._reach = kubectl, service, reach
        self._served: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._last = ""

    async def begin(self, names: Sequence[str]) -> None:
        """To each of these, as far as it can be. Raises ServerUnavailable where none can."""
        loop = asyncio.get_running_loop()
        begun: list[asyncio.Future[int]] = [loop.create_future() for _ in names[:MOST_FORWARDS]]
        self._reach.reached, self._reach.ready = 0, len(names)
        self._tasks = [
            asyncio.create_task(self._keep(each, name), name=f"forward to {name}") for each, name in zip(begun, names, strict=False)
        ]
        ports = await asyncio.gather(*begun, return_exceptions=True)
        if len(names) > MOST_FORWARDS:
            self._reach.problem = f"there are {MOST_FORWARDS} forwards at most"
        if not any(isinstance(each, int) for each in ports):
            raise next(each for each in ports if isinstance(each, BaseException))
        self.address = ",".join(f"127.0.0.1:{each}" for each in ports if isinstance(each, int))

    @property
    def is_open(self) -> bool:
        """Whether any of them is."""
        return bool(self._served)

    async def ended(self) -> str:
        """Why the last one ended that has."""
        return f"kubectl's port-forward has ended: {self._last}"

    async def stop(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, begun: asyncio.Future[int], name: str) -> None:
        """One forward after another, at one local port, until cancelled; nothing more where the first can't be begun."""
        port = 0
        while True:
            if name:
                port = await self._forward(begun, name, port)
            if not begun.done() or begun.exception() is not None:
                return
            await asyncio.sleep(AGAIN_SECONDS)
            name = await self._without_forward()

    async def _forward(self, begun: asyncio.Future[int], name: str, port: int) -> int:
        """To that replica, as long as it goes; the local port."""
        self._served.add(name)
        try:
            async with forwarding(self._kubectl, self._service, f"pod/{name}", port) as (running, port):
                self._reach.reached += 1
                if not begun.done():
                    begun.set_result(port)
                await running.process.wait()
                self._reach.reached -= 1  # Who is cancelled has had it to the end.
                self._last = await running.last() or f"status {running.process.returncode}"
        except ServerUnavailable as error:
            self._last = error.message
            if not begun.done():
                self._reach.problem = error.message
                begun.set_exception(error)
        finally:
            self._served.discard(name)
        return port

    async def _without_forward(self) -> str:
        """A replica that has none; empty: there is none, or nobody knows."""
        names, _ = await replicas(self._kubectl, self._service)
        return next((each for each in names if each not in self._served), "")
