"""Calls through the gateway, over HTTP and over MCP, against what serves the same function without a pool: FastAPI and uvicorn in one
process, Ray Serve, and the server of the official `mcp` package. All of them have the same load, out of a process of its own; see
`http_load`.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from tests.bench.cpu import Meter, resident_mib
from tests.bench.peers import ALONE, PROCESSES
from tests.bench.plane import POOL, READY_SECONDS, plane
from tests.bench.rounds import TEXT, chosen, interleave, median, say
from tests.bench.rows import Row, Target
from tests.bench.sides import Program, programs, said
from tests.support.ports import free_port

LOAD = "tests.bench.http_load"
BUSIEST = 64
FASTAPI = {1: 0.2, 16: 0.35, 64: 0.5}
"""Its server is all that a call goes through. Ours goes through four programs, which share this machine's processors, and comes back when
one of them dies; a single call waits for each of them in turn.
"""
BARE_MCP = {1: 0.3, 16: 0.5, 64: 0.6}
"""The package is most of what either side does."""
RAY_SERVE = {64: 3.0}
"""It, too, has a proxy, and replicas that are processes of their own."""
CPU = {"HTTP": 1.3, "MCP": 1.6}
"""Of the whole server that is compared with: beside HTTP itself there is a call over a link, where the other calls a function."""
GATEWAY_MIB = 128

BODY = json.dumps({"text": TEXT})
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
MCP_CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": TEXT}, "_meta": META}}
MCP = (
    json.dumps(MCP_CALL),
    "Accept: application/json, text/event-stream",
    f"MCP-Protocol-Version: {VERSION}",
    "Mcp-Method: tools/call",
    "Mcp-Name: echo",
)
"""A body and its headers."""


class Round(NamedTuple):
    """What a load has come to; times in seconds. `cpu`: of a call, by program, in µs."""

    calls: int
    per_second: float
    p50: float
    p99: float
    cpu: Mapping[str, float]


Rounds = Sequence[Mapping[str, Round]]


class Side(NamedTuple):
    """The load of one that serves, and its meter."""

    load: Program
    meter: Meter

    async def round(self, connections: int) -> Round:
        assert self.load.stdin is not None
        self.meter.start()
        self.load.stdin.write(f"{connections}\n")
        self.load.stdin.flush()
        line = await asyncio.to_thread(said, self.load)
        if not line:
            raise RuntimeError("a load ended early: build/bench-http.log has why")
        figures = json.loads(line)
        return Round(**figures, cpu={name: seconds / figures["calls"] * 1e6 for name, seconds in self.meter.stop().items()})


async def rows() -> list[Row]:
    """Ray comes last: what it does while it idles would slow down the others' rounds."""
    with programs("http") as start:
        async with plane(processes=PROCESSES) as (running, _):
            gateway = running.start_gateway()
            meter, pid = running.meter(), running.gateways[gateway].pid
            await until_answered(f"http://{gateway}/readyz")

            def ours(path: str, *load: str) -> Side:
                return Side(start(LOAD, f"http://{gateway}{path}", *load), meter)

            async def theirs(module: str, path: str, *load: str) -> Side:
                url = f"http://127.0.0.1:{(port := free_port())}{path}"
                server = start(module, str(port))
                await until_answered(url)
                return Side(start(LOAD, url, *load), Meter({"server": [server.pid]}))

            over_http = ours(f"/v1/pools/{POOL}/tools/echo", BODY)
            fastapi = await theirs("tests.bench.fastapi_side", "/echo", BODY)
            found = await _against("HTTP", "FastAPI", FASTAPI, over_http, fastapi)
            mcp = await theirs("tests.bench.mcp_side", "/mcp", *MCP)
            found += await _against("MCP", "the mcp package's server", BARE_MCP, ours(f"/mcp/{POOL}", *MCP), mcp)
            found += [_memory(pid)]
            ray = Side(start("tests.bench.serve_side", str(PROCESSES), BODY, within=ALONE), Meter({}))
            found += await _against("HTTP", "Ray Serve", RAY_SERVE, over_http, ray)
    return found


async def until_answered(url: str) -> None:
    """There is a server, whatever it says but that it isn't ready."""

    def ask() -> bool:
        try:
            urllib.request.urlopen(url, timeout=READY_SECONDS).close()
        except urllib.error.HTTPError as answer:
            return answer.code != 503
        except OSError:
            return False
        return True

    async with asyncio.timeout(READY_SECONDS):
        while not await asyncio.to_thread(ask):
            await asyncio.sleep(0.1)


async def _against(what: str, name: str, targets: Mapping[int, float], ours: Side, theirs: Side) -> list[Row]:
    found = []
    for connections in chosen(targets):
        sides = {"ours": partial(ours.round, connections), "theirs": partial(theirs.round, connections)}
        rounds = await interleave(f"{what}, {connections} connections, against {name}", sides)
        found.append(_rate(what, name, connections, Target("≥", targets[connections]), rounds))
        say(f"  {found[-1].figure:,.0f} calls/s, {found[-1].value:.2f}x; {found[-1].note}")
        if connections == BUSIEST and targets is not RAY_SERVE:
            found.append(_cost(what, rounds))
    return found


def _rate(what: str, name: str, connections: int, target: Target, rounds: Rounds) -> Row:
    return Row(
        what=f"calls/s over {what}, {connections} connection{'s' * (connections > 1)}",
        figure=median(each["ours"].per_second for each in rounds),
        unit="/s",
        baseline=median(each["theirs"].per_second for each in rounds),
        against=name,
        value=median(each["ours"].per_second / each["theirs"].per_second for each in rounds),
        target=target,
        note=f"{_cpu(rounds)}; p50 {_millis(rounds, 'ours')}, theirs {_millis(rounds, 'theirs')}",
    )


def _cpu(rounds: Rounds) -> str:
    costs = {name: median(each["ours"].cpu[name] for each in rounds) for name in rounds[0]["ours"].cpu if name != "client"}
    theirs = [median(each["theirs"].cpu["server"] for each in rounds)] if rounds[0]["theirs"].cpu else []
    parts = ", ".join(f"{name} {micros:.0f}" for name, micros in costs.items())
    return f"CPU µs a call: {parts}; sum {sum(costs.values()):.0f}; " + (f"their server's {theirs[0]:.0f}" if theirs else "theirs not seen")


def _millis(rounds: Rounds, side: str) -> str:
    return f"{median(each[side].p50 for each in rounds) * 1e3:.2f} ms"


def _cost(what: str, rounds: Rounds) -> Row:
    """A share of what the server that is compared with takes: machines differ, and so do their moments."""
    ours = median(each["ours"].cpu["gateway"] for each in rounds)
    return Row(
        what=f"gateway: CPU time of a call over {what}, {BUSIEST} connections",
        figure=ours,
        unit="µs",
        baseline=median(each["theirs"].cpu["server"] for each in rounds),
        against="the whole server",
        value=median(each["ours"].cpu["gateway"] / each["theirs"].cpu["server"] for each in rounds),
        target=Target("≤", CPU[what]),
    )


def _memory(pid: int) -> Row:
    mib = resident_mib(pid)
    return Row(what="gateway: memory (RSS) after these calls", figure=mib, unit="MiB", value=mib, target=Target("<", GATEWAY_MIB, "MiB"))
