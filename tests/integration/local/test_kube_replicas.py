"""`snakepit --kube` and a release of several replicas: what only one of them knows is there, and a forward that ends is begun again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from snakepit import Client
from snakepit.cli import forwards, target
from snakepit.cli.config import Kube
from snakepit.cli.failures import ExitStatus
from snakepit.cli.forwards import forwarded_to_each
from snakepit.cli.reach import Reach
from snakepit.cli.target import Target
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support import fake_kubectl as fake
from support.control_plane import calling, eventually, replica
from support.simulated_agent import POOL, simulated_agent

NAMES = ("cp-a", "cp-b")


@pytest.fixture
async def servers() -> AsyncIterator[list[Running]]:
    """Three replicas, of which two are of the release; each has answered a call that the others don't know."""
    store = MemoryStore()
    async with replica(store) as first, replica(store) as second, replica(store) as third:
        found = [first, second, third]
        async with (
            simulated_agent(first.address, name="a"),
            simulated_agent(second.address, name="b"),
            simulated_agent(third.address, name="c"),
        ):
            for each in found:
                async with calling(each.address) as caller:
                    await caller.call("echo")
            yield found


@pytest.fixture
def kubectl(tmp_path: Path, servers: list[Running], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake one, which is on the PATH."""
    (tmp_path / "services.json").write_text(json.dumps({"items": [fake.service("system", "snakepit")]}))
    (tmp_path / "target").write_text(servers[0].address)
    for name, server in zip((*NAMES, "cp-c"), servers, strict=True):
        (tmp_path / f"target-{name}").write_text(server.address)
    (tmp_path / "replicas").write_text(" ".join(NAMES))
    fake.put_on_path(tmp_path, monkeypatch)
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", "")
    return tmp_path


async def snakepit(*words: str) -> tuple[int, str, str]:
    command = (sys.executable, "-m", "snakepit.cli", "--kube", *words)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def running(kubectl: Path) -> dict[str, int]:
    """The forwards that are there, by where they lead to."""
    found = {}
    for pid in (kubectl / "pids").read_text().split():
        try:
            words = Path("/proc", pid, "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= {word.partition("/")[2]: int(pid) for word in words if word.startswith("pod/")}
    return found


async def test_calls_and_their_figures_are_those_of_every_replica(kubectl: Path, servers: list[Running]) -> None:
    (listed, out, err), (looked, top, remark) = await asyncio.gather(
        snakepit("calls", POOL, "-o", "json"), snakepit("top", "--once", "-o", "json")
    )
    assert (listed, err, looked, remark) == (0, "", 0, "")
    ids = [call["id"] for call in json.loads(out)]
    assert len(ids) == len(NAMES)
    (pool,) = json.loads(top)["pools"]
    assert pool["callsPerSecond"] == pytest.approx(len(NAMES) / 60, rel=0.2)
    assert (await snakepit("explain", ids[-1]))[0] == 0
    assert running(kubectl) == {}


async def test_a_replica_that_no_forward_reaches_is_told_beside_figures(kubectl: Path) -> None:
    (kubectl / "refuses-cp-b").touch()
    code, _, err = await snakepit("pools")
    said = (
        "through kubectl's forwards, figures are of 1 of 2 replicas of the control plane: kubectl can't forward a port to system/pod/cp-b"
    )
    assert (code, err.startswith(said), err.count("\n")) == (0, True, 1)
    _, listed, _ = await snakepit("calls", "-o", "json")
    (call,) = json.loads(listed)
    (found, _, beside), (missed, _, why) = await asyncio.gather(snakepit("explain", call["id"]), snakepit("explain", "made-up"))
    assert (found, beside) == (0, err)
    assert (missed, why.startswith("snakepit: CALL_NOT_FOUND: "), said in why) == (ExitStatus.USAGE, True, True)
    (kubectl / "refuses-cp-a").touch()
    code, _, err = await snakepit("pools")
    assert code == ExitStatus.NEVER_STARTED
    assert err.startswith("snakepit: SERVER_UNAVAILABLE: kubectl can't forward a port to system/pod/cp-")


async def test_a_replica_that_is_forwarded_to_and_says_nothing_is_told_beside_figures(
    kubectl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "LINK_SECONDS", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (kubectl / "target-cp-b").write_text(f"127.0.0.1:{silent.getsockname()[1]}")
        reach = Reach()

        async def pools(client: Client) -> int:
            return len(await client.pools())

        assert await asyncio.to_thread(Target(kube=Kube()).run, pools, reach) == 1
    assert "of 1 of 2 replicas of the control plane: the others' links did not open within 5 s" in reach.remark


async def test_a_forward_that_ends_is_begun_again_to_the_replica_that_has_none(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwards, "AGAIN_SECONDS", 0.05)
    reach = Reach()
    async with forwarded_to_each(Kube(), reach, with_token=False) as forward:
        async with Client(forward.address, lanes=False, connect_timeout=20) as client:
            await eventually(lambda: client.links == len(NAMES), "both are linked")
            before = {each.id for each in await client.replicas()}
            (kubectl / "replicas").write_text("cp-a cp-c")
            os.kill(running(kubectl)["cp-b"], signal.SIGKILL)
            await eventually(lambda: "cp-c" in running(kubectl) and client.links == len(NAMES), "another one is in its place")

            async def known() -> set[Any]:
                return {each.id for each in await client.replicas()}

            await eventually(known_by(known, before), "it answers")
            assert (reach.reached, set(running(kubectl))) == (2, {"cp-a", "cp-c"})
        assert forward.is_open
    await eventually(lambda: running(kubectl) == {}, "none is left")


def known_by(known: Any, before: set[Any]) -> Any:
    """Have two replicas answered, one of which is new?"""

    async def look() -> bool:
        found = await known()
        return len(found) == len(NAMES) and found != before

    return look
