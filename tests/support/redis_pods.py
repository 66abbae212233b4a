"""The bundled Redis on a cluster: its pods, who of them leads, and what they answer."""

from __future__ import annotations

from typing import Any

from support.kube import SYSTEM, eventually, get, is_ready, run

REDIS = "snakepit-redis"
REDIS_PORT, SENTINEL_PORT = 6379, 26379


def ask(pod: dict[str, Any], *words: str, port: int = REDIS_PORT) -> str:
    """What a server, or its Sentinel, answers; empty: nothing."""
    line = " ".join(("REDISCLI_AUTH=$REDIS_PASSWORD valkey-cli -p", str(port), *words))
    argv = ("kubectl", "exec", pod["metadata"]["name"], "-n", SYSTEM, "-c", "redis", "--", "sh", "-c", line)
    return run(*argv, check=False).stdout


def servers() -> list[dict[str, Any]]:
    """Those that are ready, and stay."""
    pods = get("pods", namespace=SYSTEM, selector="app.kubernetes.io/component=redis")
    return [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]


def leads(pod: dict[str, Any]) -> bool:
    """By its own word."""
    return "role:master" in ask(pod, "info", "replication")


def primary() -> dict[str, Any]:
    """The one, while all three are in step, and all Sentinels there."""

    def one() -> dict[str, Any]:
        pods = servers()
        assert len(pods) == 3
        told = [ask(pod, "sentinel", "ckquorum", "main", port=SENTINEL_PORT) for pod in pods]
        assert all("OK 3 usable Sentinels" in each for each in told), told
        found = [pod for pod in pods if leads(pod)]
        assert len(found) == 1, "one leads"
        assert "connected_slaves:2" in ask(found[0], "info", "replication")
        return found[0]

    return eventually(one, "one of three leads", timeout=90)


def none_turns_idly() -> bool:
    """A dial to an address that nobody has at the moment can leave a socket on which they would spin."""
    cycles = "instantaneous_eventloop_cycles_per_sec:"
    said = [ask(pod, "info", "stats", port=port) for pod in servers() for port in (REDIS_PORT, SENTINEL_PORT)]
    assert all(cycles in each for each in said), "each of them answers"
    turns = [int(each.partition(cycles)[2].split()[0]) for each in said]
    assert max(turns) < 10_000, turns
    return True
