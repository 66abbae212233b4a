"""A real control-plane replica whose agents are virtual: `python -m tests.scale.plane`, with where the API server is in its environment.

Fleet, router and FleetService are the product's own. Of an agent there is what the replica hears of it, without a link to carry it: hello
when its pod is ready, a heartbeat in each interval, and a drain when the pod is to go.
"""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import contextlib
import os
import random
import ssl
import sys
from typing import Any

import aiohttp
import uvloop

from snakepit.errors import SnakepitError
from snakepit.spec.fields import HeartbeatSpec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.server import Running, serve
from snakepit_control_plane.settings import Settings
from snakepit_operator.pods import POOL_LABEL
from tests.scale.story import changes

TICKS_PER_SECOND = 10
"""A tick's share of the agents report at a time, as agents do that began at different moments."""
BEAT_SECONDS = HeartbeatSpec().interval_seconds
RETRY_SECONDS = 0.5


class Agent:
    """Of one pod. `workers` are ready from the beginning."""

    def __init__(self, pod: dict[str, Any], workers: int) -> None:
        metadata = pod["metadata"]
        self.name, self.uid = metadata["name"], metadata["uid"]
        pool = f"{metadata['namespace']}/{metadata['labels'][POOL_LABEL]}"
        self.hello = link_pb2.Hello(
            role=link_pb2.ROLE_AGENT,
            capsule=link_pb2.Capsule(pool=pool, name=self.name, incarnation=self.uid, pod_uid=self.uid),
        )
        names = [f"{self.name}/{number}" for number in range(workers)]
        ready = pool_pb2.WORKER_STATE_READY
        self.report = link_pb2.Report(workers=[pool_pb2.Worker(id=each, incarnation=f"{each}-{self.uid}", state=ready) for each in names])
        for each in self.report.workers:
            each.slots = 1
        self.offer = link_pb2.Offer(tools=[common_pb2.Tool(name="echo")])
        self.capsule: Capsule | None = None
        self.slot = random.randrange(int(BEAT_SECONDS * TICKS_PER_SECOND))

    def take(self, frame: link_pb2.Frame) -> None:
        """What the replica sends: it is drained, and nothing runs there."""
        if frame.HasField("drain"):
            self.report.draining = True


class Agents:
    """All agents of the pods that there are."""

    def __init__(self, replica: Running, workers: int) -> None:
        self._replica, self._workers = replica, workers
        self._agents: dict[str, Agent] = {}

    def see(self, pod: dict[str, Any], *, gone: bool) -> None:
        """What the API server tells of a pod."""
        uid, going = pod["metadata"]["uid"], "deletionTimestamp" in pod["metadata"]
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in (pod.get("status") or {}).get("conditions") or ())
        if gone or going:
            self._leave(uid)
        elif ready and uid not in self._agents:
            self._agents[uid] = Agent(pod, self._workers)

    def _leave(self, uid: str) -> None:
        agent = self._agents.pop(uid, None)
        if agent is not None and agent.capsule is not None:
            agent.report.draining = True
            del agent.report.workers[:]
            self._replica.fleet.reported(agent.capsule, agent.report)
            self._replica.fleet.leave(agent.capsule, agent.take)

    async def beat_forever(self) -> None:
        loop, tick = asyncio.get_running_loop(), 0
        began = loop.time()
        while True:
            tick += 1
            for agent in [each for each in self._agents.values() if (each.slot + tick) % int(BEAT_SECONDS * TICKS_PER_SECOND) == 0]:
                await self._beat(agent)
            await asyncio.sleep(max(0.0, began + tick / TICKS_PER_SECOND - loop.time()))

    async def _beat(self, agent: Agent) -> None:
        fleet = self._replica.fleet
        if agent.capsule is None:
            try:
                agent.capsule = await fleet.join(agent.hello, agent.take)
            except SnakepitError:
                return  # Its pool is not known here yet: it dials again.
            fleet.offered(agent.capsule, agent.offer)
        if agent.uid in self._agents:
            fleet.reported(agent.capsule, agent.report)


async def run(listen: str, workers: int) -> None:
    replica = await serve(Settings(listen=listen, metrics=None))
    agents = Agents(replica, workers)
    beats = asyncio.create_task(agents.beat_forever())
    tls = ssl.create_default_context(cafile=os.environ["CA"])
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    print("serving", flush=True)
    async with aiohttp.ClientSession(
        os.environ["API_SERVER"], headers=headers, connector=aiohttp.TCPConnector(ssl=tls), timeout=timeout
    ) as session:
        while not beats.done():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async for event in changes(session, "/api/v1/pods"):
                    agents.see(event["object"], gone=event["type"] == "DELETED")
            await asyncio.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2])))
