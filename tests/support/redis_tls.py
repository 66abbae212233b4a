"""Real servers that speak TLS themselves and ask for a client's certificate: alone, as a Cluster, or under a Sentinel.

The wheels' servers are built without TLS, so these are whatever `redis-server` or `valkey-server` there is on PATH (Debian's have it).
Each listens on a plain port too, for the test's own commands.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.ports import free_port
from support.redis_server import RedisCluster, RedisServer, SentinelWorld, bus_port, until
from support.tls import Certificate


@functools.cache
def tls_binary() -> str:
    """Its path; skips the test where there is none."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path and b"SSL_CTX_new" in Path(path).resolve().read_bytes():
            return path
    pytest.skip("Redis' own TLS is not tried: no redis-server with TLS is on PATH (Debian: apt-get install redis-server)")


@dataclass
class TlsServer(RedisServer):
    """`secure`: the port on which it speaks TLS."""

    secure: int = 0

    @property
    def secure_address(self) -> str:
        return f"127.0.0.1:{self.secure}"

    @property
    def known_port(self) -> int:
        return self.secure


def _server(stack: contextlib.ExitStack, own: Certificate, *options: str, port: int = 0) -> TlsServer:
    folder, secure = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="snakepit-redis-"))), port or free_port()
    files = ("--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key), "--tls-ca-cert-file", str(own.certificate))
    server = TlsServer(tls_binary(), folder, options=("--tls-port", str(secure), *files, *options), secure=secure)
    stack.callback(server.kill)
    return server


@contextlib.contextmanager
def tls_server(own: Certificate) -> Iterator[TlsServer]:
    with contextlib.ExitStack() as stack:
        server = _server(stack, own)
        server.start()
        yield server


@contextlib.contextmanager
def tls_cluster(own: Certificate) -> Iterator[list[TlsServer]]:
    """Clients that speak TLS are told of TLS ports; the nodes talk by TLS, too."""
    with contextlib.ExitStack() as stack:
        options = ("--tls-cluster", "yes", "--cluster-enabled", "yes", "--cluster-node-timeout", "20000")
        nodes: list[TlsServer] = []
        for _ in range(3):
            server = _server(stack, own, *options, port=bus_port())
            server.start()
            nodes.append(server)
        RedisCluster([*nodes], []).join()
        yield nodes


@contextlib.contextmanager
def tls_sentinel_world(own: Certificate) -> Iterator[tuple[SentinelWorld, TlsServer]]:
    """One primary, one replica and one Sentinel, which speak nothing but TLS to each other; and that Sentinel."""
    with contextlib.ExitStack() as stack:
        quick = ("--tls-replication", "yes", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        primary = _server(stack, own, *quick)
        primary.start()
        replica = _server(stack, own, *quick, "--replicaof", "127.0.0.1", str(primary.secure))
        replica.start()
        sentinel = _sentinel(stack, own, primary)
        world = SentinelWorld(primary, replica, [sentinel])
        until(world.replica_is_known, "the Sentinel knows the replica")
        yield world, sentinel


def _sentinel(stack: contextlib.ExitStack, own: Certificate, primary: TlsServer) -> TlsServer:
    sentinel = _server(stack, own, "--tls-replication", "yes")
    configuration = sentinel.folder / "sentinel.conf"
    configuration.write_text(
        f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
        f"sentinel monitor main 127.0.0.1 {primary.secure} 1\nsentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 3000\n"
    )
    sentinel.launch([sentinel.binary, str(configuration), "--sentinel", *sentinel.options])
    sentinel.until(sentinel.answers, "the Sentinel answers")
    return sentinel
