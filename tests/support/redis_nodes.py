"""The chart's three servers with their Sentinels, as its own script starts them: each node at a loopback address of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .pages import ROOT
from .ports import free_port
from .redis_server import binaries, until

SCRIPT = ROOT / "charts/snakepit/files/redis/node.sh"
PASSWORD = "secret"
SILENCE = ("--repl-ping-replica-period", "2", "--repl-timeout", "10")
OPTIONS = ("--save", "", "--min-replicas-to-write", "1", "--min-replicas-max-lag", "4", "--repl-diskless-sync-delay", "0", *SILENCE)
ENDS_SECONDS = 20
DOWN_AFTER_MS = "1000"
LOOK_SECONDS = 0.2
"""Each look is a few processes."""


class Node:
    """A pod: a server and a Sentinel with one folder of data."""

    def __init__(self, nodes: Nodes, number: int) -> None:
        self.name, self._nodes, self._folder = f"node-{number}", nodes, nodes.folder / f"node-{number}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return self._nodes.addresses[self.name]

    def start(self, *roles: str) -> None:
        """Both programs, unless told which one."""
        self._folder.mkdir(exist_ok=True)
        # Its own, and anew: Sentinels have servers write down what they are now, which they can't where a Secret is mounted.
        auth = self._nodes.folder / f"{self.name}-auth.conf"
        auth.write_text(f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\n")
        options = (str(auth), "--port", str(self._nodes.port), "--dir", str(self._folder), *OPTIONS)
        keeps = ("--appendonly", "yes" if self._nodes.keeps else "no")
        for role in roles or ("sentinel", "server"):
            words = (*options, *keeps) if role == "server" else ()
            with (self._folder.parent / f"{self.name}-{role}.log").open("ab") as log:
                self.running[role] = subprocess.Popen(
                    [*self._sh(role), self._program(), *words], stdout=log, stderr=log, env=self._environment()
                )

    def sh(self, role: str) -> int:
        """Carry out another of the script's roles; its exit code."""
        return subprocess.run(self._sh(role), env=self._environment(), timeout=ENDS_SECONDS, check=False).returncode

    def kill(self, *roles: str) -> None:
        for role in roles or tuple(self.running):
            process = self.running.pop(role)
            process.kill()
            process.wait(ENDS_SECONDS)

    def stop(self) -> None:
        """As the kubelet stops a pod: the Sentinel at once, the server after its hook."""
        self.running["sentinel"].terminate()
        self.sh("hand-over")
        for process in self.running.values():
            process.terminate()
            process.wait(ENDS_SECONDS)
        self.running.clear()

    def lose_data(self) -> None:
        shutil.rmtree(self._folder)

    def cli(self, *words: str, port: int = 0) -> str:
        command = [self._nodes.cli, "-h", self.address, "-p", str(port or self._nodes.port), *words]
        environment = {"REDISCLI_AUTH": PASSWORD}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ENDS_SECONDS, check=False).stdout

    def leads(self) -> bool:
        return "role:master" in self.cli("info", "replication")

    def in_step(self) -> bool:
        return self.sh("in-step") == 0

    def _sh(self, role: str) -> list[str]:
        return ["sh", str(SCRIPT), role]

    def _program(self) -> str:
        """One that listens at the node's address only."""
        path = self._nodes.folder / f"{self.name}-server"
        path.write_text(f'#!/bin/sh\nexec {self._nodes.binary} "$@" --bind {self.address}\n')
        path.chmod(0o755)
        return str(path)

    def _environment(self) -> dict[str, str]:
        own = {
            "PATH": f"{self._nodes.folder}:{os.environ['PATH']}",
            "REDIS_PASSWORD": PASSWORD,
            "NAME": self.name,
            "NODES": " ".join(self._nodes.addresses),
            "CLI": self._nodes.cli,
            "PORT": str(self._nodes.port),
            "SENTINEL_PORT": str(self._nodes.sentinel_port),
            "DATA": str(self._folder),
            "HERE": self.address,
            "PATIENCE": "1",
            "DOWN_AFTER_MS": DOWN_AFTER_MS,
            "ALL_START_SECONDS": str(self._nodes.all_start_seconds),
        }
        return {**os.environ, **own}


class Nodes:
    """Three of them. `keeps`: as with a volume."""

    def __init__(self, folder: Path, kind: str, *, keeps: bool) -> None:
        self.folder, self.keeps, self.binary = folder, keeps, binaries()[kind]
        self.cli = str(Path(binaries()["redis"]).with_name("redis-cli"))
        self.port, self.sentinel_port = free_port(), free_port()
        self.all_start_seconds = 2
        self.addresses: dict[str, str] = {}
        self.move(11)
        self.all = [Node(self, number) for number in range(3)]

    def move(self, first: int) -> None:
        """Other addresses, as after the Services were made again."""
        self.addresses = {f"node-{number}": f"127.0.0.{first + number}" for number in range(3)}
        getent = self.folder / "getent"
        cases = "".join(f'{name}) echo "{at} {name}" ;; ' for name, at in self.addresses.items())
        getent.write_text(f'#!/bin/sh\ncase "$2" in {cases}esac\n')
        getent.chmod(0o755)

    @property
    def url(self) -> str:
        sentinels = ",".join(f"{at}:{self.sentinel_port}" for at in self.addresses.values())
        return f"redis+sentinel://:{PASSWORD}@{sentinels}/main/0?sentinel_password={PASSWORD}"

    def primary(self) -> Node:
        """The one that all Sentinels name, as soon as they agree and it takes writes."""
        found: list[Node] = []

        def agreed() -> bool:
            named = {self._named(node) for node in self.all if "sentinel" in node.running}
            found[:] = [node for node in self.all if {node.address} == named and "server" in node.running and node.leads()]
            return bool(found)

        until(agreed, "the Sentinels agree on a primary", 40, LOOK_SECONDS)
        return found[0]

    def settle(self) -> None:
        """Returns when two follow one and have its data."""
        until(lambda: sum(node.leads() for node in self.all) == 1 and all(map(Node.in_step, self.all)), "one leads two", 40, LOOK_SECONDS)

    def ready(self) -> None:
        """The same, and every Sentinel knows all of it: that may take it ten seconds."""
        self.settle()
        until(lambda: all(self._knows(node) for node in self.all), "the Sentinels know each other", 40, LOOK_SECONDS)

    def watchful(self) -> None:
        """As soon as no Sentinel waits longer for the primary, as each does while all start."""
        until(
            lambda: all(self._told(node).get("down-after-milliseconds") == DOWN_AFTER_MS for node in self.all),
            "none waits",
            40,
            LOOK_SECONDS,
        )

    def _named(self, node: Node) -> str:
        return node.cli("sentinel", "get-master-addr-by-name", "main", port=self.sentinel_port).partition("\n")[0]

    def _knows(self, node: Node) -> bool:
        told = self._told(node)
        return (told.get("num-slaves"), told.get("num-other-sentinels"), told.get("flags")) == ("2", "2", "master")

    def _told(self, node: Node) -> dict[str, str]:
        words = node.cli("sentinel", "master", "main", port=self.sentinel_port).split("\n")
        return dict(zip(words[::2], words[1::2], strict=False))


@contextlib.contextmanager
def redis_nodes(kind: str = "valkey", *, keeps: bool = False, all_start_seconds: int = 2) -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="snakepit-redis-") as folder:
        nodes = Nodes(Path(folder), kind, keeps=keeps)
        nodes.all_start_seconds = all_start_seconds
        try:
            for node in nodes.all:
                node.start()
            nodes.ready()
            yield nodes
        finally:
            for node in nodes.all:
                node.kill()
