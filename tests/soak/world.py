"""Two replicas over a real Redis, three capsules of two pools, all as processes of their own, and what may befall them.

Whatever is killed is started again at once, as a kubelet would. Everything is on a leash: none of it outlives this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import msgspec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

import snakepit
from snakepit.spec import SnakePoolSpec, encode_spec
from tests.bench.cpu import family
from tests.soak.ledger import Ledger
from tests.soak.processes import Footprint, footprint, name, orphans, zombies
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, binaries

HERE = Path(__file__).resolve().parent
POOL, ALONE = "default/soak", "default/alone"
CAPSULES, PROCESSES = 2, 4
WORKERS = CAPSULES * PROCESSES
EXCLUSIVE_WORKERS = 2
SPARE = "snakepit-spare"
"""Of the other pool's one capsule."""

FAULTS = (
    *("worker", "worker", "worker", "keeper", "agent", "recycled", "recycled"),
    *("redis paused", "redis restarted", "replica killed", "replica stopped"),
)
START_SECONDS = 60.0
COMMON = {
    "queue": {"timeoutSeconds": 60},
    "drain": {"killAfterSeconds": 2},
    "restart": {"maxRestarts": 1000},
    "session": {"ttlSeconds": 300},
    "recycle": {"maxAgeSeconds": 40, "maxCalls": 500, "maxMemory": "80Mi"},
}
SPECS = {
    POOL: msgspec.convert({"worker": {"adapter": "soak_tools:Soak", "processes": PROCESSES}, **COMMON}, SnakePoolSpec),
    ALONE: msgspec.convert(
        {"worker": {"adapter": "soak_tools:Soak", "processes": EXCLUSIVE_WORKERS, "exclusive": True}, **COMMON}, SnakePoolSpec
    ),
}


@dataclass
class Program:
    """One of our programs, started again under the same name after its death."""

    module: str
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0

    def start(self) -> None:
        argv = [sys.executable, "-m", "snakepit_local.leash", str(os.getpid()), self.module]
        quiet = {"SNAKEPIT_LOG_LEVEL": "warning", "SNAKEPIT_LOG_FORMAT": "text"}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                argv, env={**os.environ, **quiet, **self.environment}, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.deaths += 1

    def again(self) -> None:
        """Kill it and start it again."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self.deaths += 1
        self.start()


TASKS = "snakepit_tasks"


@dataclass
class World:
    folder: Path
    rng: random.Random
    redis: RedisServer = field(init=False)
    replicas: dict[str, Program] = field(default_factory=dict)
    """By the address of their metrics."""
    addresses: list[str] = field(default_factory=list)
    agents: list[Program] = field(default_factory=list)
    keepers: list[Program] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    gone: list[Metric] = field(default_factory=list)
    """The counters of replicas that have ended, as they were last read."""
    lost_by_stopping: list[str] = field(default_factory=list)
    """What their callers were told. There must be none: a rollout loses nothing."""
    unread: int = 0
    """How many calls may have ended after that, uncounted."""

    def __post_init__(self) -> None:
        # What Redis has acknowledged survives its restart: sessions are only lost when the soak says so.
        self.redis = RedisServer(binaries()["redis"], self.folder, options=("--appendonly", "yes", "--appendfsync", "always"))

    @property
    def server(self) -> str:
        return ",".join(self.addresses)

    def start(self) -> None:
        self.redis.start()
        for number in range(2):
            address, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
            own = {
                "SNAKEPIT_LISTEN": address,
                "SNAKEPIT_METRICS_LISTEN": metrics,
                "SNAKEPIT_STORE": self.redis.url,
                "SNAKEPIT_LINGER_SECONDS": "1",
            }
            self.addresses.append(address)
            self.replicas[metrics] = self._program("snakepit_control_plane.main", f"replica-{number}", own)
        for number in range(CAPSULES):
            self._capsule(POOL, f"soak-{number}")
        self._capsule(ALONE, "alone-0")

    def _capsule(self, pool_name: str, name: str) -> None:
        run_dir = self.folder / name
        run_dir.mkdir()
        own = {"SNAKEPIT_RUN_DIR": str(run_dir)}
        pool = {"SNAKEPIT_POOL": pool_name, "SNAKEPIT_POOL_UID": pool_name, "SNAKEPIT_POOL_GENERATION": "1"}
        pool["SNAKEPIT_SPEC"] = encode_spec(SPECS[pool_name])
        links = {"SNAKEPIT_CAPSULE": name, "SNAKEPIT_SERVER": self.server, "SNAKEPIT_HEALTH_PORT": "0"}
        author = {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])), "SOAK_FOLDER": str(self.folder)}
        self.agents.append(self._program("snakepit_agent.main", f"agent-{name}", own | pool | links))
        self.keepers.append(self._program("snakepit_worker.keeper", f"keeper-{name}", own | author))

    def _program(self, module: str, name: str, own: Mapping[str, str]) -> Program:
        program = Program(module, own, self.folder / f"{name}.log")
        program.start()
        return program

    # ---- what may befall it

    async def fault(self, pool: snakepit.Pool, ledger: Ledger, at_once: int) -> None:
        """One of them, at random. At most `at_once` calls are open."""
        kind = self.rng.choice(FAULTS)
        self.faults[kind] += 1
        if kind == "worker":
            self._kill_worker()
        elif kind == "keeper":
            await asyncio.to_thread(self.rng.choice(self.keepers).again)
        elif kind == "agent":
            await asyncio.to_thread(self.rng.choice(self.agents).again)
        elif kind == "recycled":
            with contextlib.suppress(snakepit.SnakepitError):  # As many of them fail as of other requests: nothing comes of it.
                await pool.recycle_worker(f"soak-{self.rng.randrange(CAPSULES)}/{self.rng.randrange(PROCESSES)}")
        elif kind == "replica killed":
            await self._kill_replica(ledger, at_once)
        elif kind == "replica stopped":
            await self._stop_replica(ledger, at_once)
        elif kind == "redis paused":
            await self._pause_redis()
        else:
            await asyncio.to_thread(self.redis.kill)
            await asyncio.to_thread(self.redis.start)

    async def _kill_replica(self, ledger: Ledger, at_once: int) -> None:
        address = self.rng.choice(list(self.replicas))
        before, counters = len(ledger.ends), await asyncio.to_thread(_counters, address)
        await asyncio.to_thread(self.replicas[address].again)
        await self._replaced(address, counters, len(ledger.ends) - before + at_once)

    async def _stop_replica(self, ledger: Ledger, at_once: int) -> None:
        """As a rollout does: TERM, and another when it has finished its calls, of which none should be lost.

        Its counters are read until then, and once before: on a busy machine it may have gone before anything else was read.
        """
        earlier = set(ledger.ends)
        address = self.rng.choice(list(self.replicas))
        program, before = self.replicas[address], len(ledger.ends)
        counters = await asyncio.to_thread(_counters, address)
        program.terminate()
        while program.runs():
            with contextlib.suppress(OSError):
                now = len(ledger.ends)
                counters, before = await asyncio.to_thread(_counters, address), now
            await asyncio.sleep(0.02)
        unread = len(ledger.ends) - before + at_once
        program.start()
        await self._replaced(address, counters, unread)
        self.lost_by_stopping += [ledger.why[token] for token in ledger.lost() if token not in earlier]

    async def _replaced(self, address: str, counters: list[Metric], unread: int) -> None:
        """Until the new one serves, so that there is always another."""
        self.gone += counters
        self.unread += unread
        async with asyncio.timeout(START_SECONDS):
            while not await _is_ready(self.addresses[list(self.replicas).index(address)]):
                await asyncio.sleep(0.05)

    def _kill_worker(self) -> None:
        workers = self.workers()
        if workers:
            _kill(self.rng.choice(workers))

    async def _pause_redis(self) -> None:
        assert self.redis.process is not None
        self.redis.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self.rng.uniform(0.2, 1.5))
        finally:
            self.redis.process.send_signal(signal.SIGCONT)

    async def recover(self, pool: snakepit.Pool, kind: str) -> float:
        """Kill a worker, or the agent or the keeper of a capsule; seconds until all of the pool's workers are ready again."""
        await self._until_strong(pool, ())
        number = self.rng.randrange(CAPSULES)
        lost = self.workers([self.keepers[number]])
        if kind == "worker":
            lost = [self.rng.choice(lost)]
        begin = time.monotonic()
        if kind == "worker":
            _kill(lost[0])
        else:
            await asyncio.to_thread((self.agents if kind == "agent" else self.keepers)[number].again)
        await self._until_strong(pool, lost)
        return time.monotonic() - begin

    async def _until_strong(self, pool: snakepit.Pool, lost: Sequence[int]) -> None:
        """Each worker is ready, in another process than those. One that is being recycled may be there twice."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(snakepit.SnakepitError):
                    known = [w for w in await pool.workers() if w.state == "ready" and w.liveness == "live" and w.pid not in lost]
                    if len({w.id for w in known}) == WORKERS:
                        return
                await asyncio.sleep(0.01)

    # ---- what can be seen of it

    def workers(self, keepers: Sequence[Program] = ()) -> list[int]:
        """Pids of workers: what the keepers (all of them) have under them, but for zygotes, and for what workers have started."""
        below = [pid for keeper in keepers or self.keepers for pid in sorted(family(keeper.pid) - {keeper.pid})]
        return [pid for pid in below if "/" in name(pid)]

    def runs(self) -> list[str]:
        """A token for each run that a worker has begun."""
        return [token for path in self.folder.glob("worker-*.log") for token in path.read_text().split()]

    def metric(self, name: str, label: str = "") -> Counter[str]:
        """The sum over both replicas, and the earlier ones, by the label's value."""
        found: Counter[str] = Counter()
        for metric in [*self.gone, *[each for address in self.replicas for each in _metrics(address)]]:
            for sample in metric.samples:
                if sample.name == name:
                    found[sample.labels.get(label, "")] += int(sample.value)
        return found

    def tasks(self) -> int:
        """Of both replicas; 0 where one's loop was too busy to count its own."""
        told = [sample.value for address in self.replicas for each in _metrics(address) for sample in each.samples if sample.name == TASKS]
        return int(sum(told)) if len(told) == len(self.replicas) else 0

    def footprints(self) -> dict[str, Footprint]:
        """Of what should hold no more at the end than at the start."""
        programs = {f"replica {number}": each for number, each in enumerate(self.replicas.values())}
        programs |= {f"agent {number}": each for number, each in enumerate(self.agents)}
        programs |= {f"keeper {number}": each for number, each in enumerate(self.keepers)}
        return {name: footprint(each.pid) for name, each in programs.items()}

    def astray(self) -> list[str]:
        """Processes that belong to nobody: an author's that have outlived their worker or its keeper, and zombies."""
        programs = [each.pid for each in (*self.replicas.values(), *self.agents, *self.keepers)]
        known = {pid for program in programs for pid in family(program)}
        return [
            *[f"an orphan: {each}" for each in orphans(self.folder, known)],
            *[f"a zombie: {each}" for each in zombies({*known, os.getpid()})],
        ]

    def helpers(self) -> set[int]:
        """Pids of the keepers' processes that are no workers: keepers, zygotes. What authors' code has started, `sleep`s, is left out."""
        return {pid for pid, called in self._below().items() if "/" not in called and called not in ("sleep", "", SPARE)}

    def spares(self) -> int:
        """Forked ahead; at most one a capsule, and for a moment none."""
        return list(self._below().values()).count(SPARE)

    def _below(self) -> dict[int, str]:
        return {pid: name(pid) for keeper in self.keepers for pid in family(keeper.pid)}

    def stop(self) -> None:
        for program in (*self.agents, *self.replicas.values()):
            program.process and program.process.kill()
        for program in self.keepers:
            program.process and program.process.terminate()
        for program in (*self.agents, *self.replicas.values(), *self.keepers):
            program.process and program.process.wait(30)
        self.redis.kill()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # It was about to end anyway.
        os.kill(pid, signal.SIGKILL)


def _metrics(address: str) -> list[Metric]:
    """Of one replica. Raises OSError."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        return list(text_string_to_metric_families(page.read().decode()))


def _counters(address: str) -> list[Metric]:
    return [metric for metric in _metrics(address) if metric.type == "counter"]


async def _is_ready(address: str) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):
        async with grpc.aio.insecure_channel(address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False
