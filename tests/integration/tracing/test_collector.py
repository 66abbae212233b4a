"""One trace, in a real OpenTelemetry Collector: of callers by HTTP, MCP, Python and Go, through queue, retry and rebind, to a tool's own
spans. What it says is what docs/tracing.md says, and nothing of that is missing."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from mcp import Client as McpClient

from snakepit import Client
from snakepit._telemetry.spans import ATTRIBUTES, EVENTS, TABLE, Kind
from snakepit.v1 import session_pb2, session_pb2_grpc
from support.clients import BUILD_SECONDS, go_client
from support.collector import Collector, Seen, collecting, kind_of
from support.dev_server import TESTS, Dev, dev, pool_file
from support.eventually import eventually
from support.traced import AUTHOR

POOL = "default/traced"
STATE = "vendor=1"
PROGRAM_SECONDS = 60.0
ROLES = ("", "internal", "server", "client")
"""By OTLP's numbers."""

ASKED = 13 + 2 + 5 + 5 + 1
"""Requests by HTTP, calls by MCP, from Python, from Go, and of a state by plain gRPC."""

BELOW = {"tools/call": "call", "call": "route", "state": "store"}

NOT_OF_THIS_DAY = {"joined", "sent ahead", "recalled", "rejected", "sent again"}
"""What needs a race, or a second replica: tests of the units show these."""

NOT_SAID_THIS_DAY = {"snakepit.resend_count"}

pytestmark = pytest.mark.timeout(3 * BUILD_SECONDS)


@dataclass(frozen=True)
class Day:
    """All that was asked, in one trace, and what the collector has of it."""

    root: str
    spans: list[Seen]

    def named(self, name: str) -> list[Seen]:
        return [each for each in self.spans if each.name == name]

    def below(self, parent: Seen, name: str) -> Seen:
        """The one of that name whose parent it is."""
        (found,) = [each for each in self.spans if each.parent == parent.id and each.name == name]
        return found

    def way(self, span: Seen) -> list[str]:
        """The names from there to the root."""
        above = {each.id: each for each in self.spans}
        return [span.name, *(self.way(above[span.parent]) if span.parent in above else [])]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    trace, root = secrets.token_hex(16), secrets.token_hex(8)
    pool = pool_file(folder, "traced", "support.traced:Traced", worker="processes: 2", replicas="1")
    with collecting(folder) as collector:
        program = dev(pool, "--gateway", "127.0.0.1:0", **collector.environment)
        with program as server:
            server.is_ready()
            asyncio.run(_live(server, collector, folder, f"00-{trace}-{root}-01"))
            spans = collector.until(lambda spans: missing([each for each in spans if each.trace == trace], root))
    return Day(root, [each for each in spans if each.trace == trace])


def missing(spans: list[Seen], root: str) -> list[str]:
    """What has not come yet of all that was asked, as far as what has come tells. Programs send their spans when they like."""
    known, below = {root, *(each.id for each in spans)}, Counter((each.parent, each.name) for each in spans)
    found = [f"the parent of {each}" for each in spans if each.parent not in known]
    found += [f"{ASKED - asked} that were asked"] if (asked := sum(each.parent == root for each in spans)) < ASKED else []
    expected = [(each, name, count) for each in spans for name, count in _expected(each).items()]
    return found + [f"{name} below {each}" for each, name, count in expected if below[each.id, name] < count]


def _expected(span: Seen) -> dict[str, int]:
    """What is below it in the end, as far as it says. A call that an agent gives back has no span there."""
    what, _, tool = span.name.partition(" ")
    if what == "route":
        told = events(span)
        return {f"tool {tool}": sum(name.startswith("sent") for name in told) - told.count("rejected") - told.count("recalled")}
    return {f"{BELOW[what]} {tool}": 1} if what in BELOW else {}


async def _live(server: Dev, collector: Collector, folder: Path, traceparent: str) -> None:
    await asyncio.to_thread(_by_programs, server, collector, traceparent)
    url = f"{server.gateway}/v1/pools/{POOL}/"
    headers = {"traceparent": traceparent, "tracestate": STATE, "baggage": "customer=ada"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http, Client(server.server) as client:
        await _in_a_session(http)
        await _reads_state_by_grpc(server.server, traceparent)
        await _while_all_are_busy(http, client, folder)
        assert (await http.post("tools/frail", json={"folder": str(folder)})).json() == "there"
        assert (await http.post("tools/fail", json={})).status_code == 500
        assert (await http.post("tools/nothing", json={})).status_code == 404
        trace, _, *others = (await http.post("tools/whose", json={})).json().split()
        assert (trace, others) == (traceparent.split("-")[1], [STATE, "ada"])
    async with McpClient(f"{server.gateway}/mcp/{POOL}") as mcp:
        await mcp.call_tool("echo", {"value": 1}, meta={"traceparent": traceparent})
        await mcp.call_tool("fail", {}, meta={"traceparent": traceparent})


async def _reads_state_by_grpc(server: str, traceparent: str) -> None:
    request = session_pb2.GetStateRequest(pool=POOL, session_id="ada", key="title")
    async with grpc.aio.insecure_channel(server) as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        assert (await stub.GetState(request, metadata=(("traceparent", traceparent), ("tracestate", STATE)))).found


async def _in_a_session(http: httpx.AsyncClient) -> None:
    """Its worker dies in between."""
    within = {"Snakepit-Session": "ada"}
    (await http.put("sessions/ada", json={})).raise_for_status()
    assert (await http.post("tools/report", json={}, headers=within)).json() == "sales: 6"
    assert (await http.post("tools/die", json={}, headers=within)).json()["reason"] == "WORKER_LOST"
    assert (await http.post("tools/report", json={}, headers=within)).json() == "sales: 6"
    assert (await http.get("sessions/ada/state/title")).status_code == 200
    assert (await http.get("sessions/nobody/state/title")).status_code == 404


async def _while_all_are_busy(http: httpx.AsyncClient, client: Client, folder: Path) -> None:
    holding = [asyncio.create_task(http.post("tools/hold", json={"folder": str(folder), "name": f"holds {each}"})) for each in range(2)]
    await eventually(lambda: len(list(folder.glob("holds *"))) == 2, "both workers are busy", seconds=30)
    waiting = asyncio.create_task(http.post("tools/totals", json={"values": [20, 22]}))

    async def waits() -> bool:
        return any(each.queue_depth for each in await client.pools() if each.name == POOL)

    await eventually(waits, "a third call waits", seconds=30)
    (folder / "go").touch()
    assert (await waiting).json() == 42
    await asyncio.gather(*holding)


def _by_programs(server: Dev, collector: Collector, traceparent: str) -> None:
    environment = {**os.environ, **collector.environment, "TRACEPARENT": traceparent, "PYTHONPATH": str(TESTS), "SNAKEPIT_TOKEN_FILE": ""}
    command = [sys.executable, "-m", "support.traced_client", server.server, POOL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"chunks": [0, 1, 2], "asked": "the budget is fine", "failed": "LookupError", "title": "Don Juan"}
    asked = json.dumps({"pool": POOL, "cases": {"one": {"tool": "echo", "json": {"value": 1}}}, "to": 3})
    environment["SNAKEPIT_CA_FILE"] = ""
    go = subprocess.run(
        go_client(server.server), input=asked, env=environment, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
    )
    assert go.returncode == 0, go.stderr


def events(span: Seen) -> list[str]:
    return [name for name, _ in span.events]


def kind(span: Seen) -> Kind:
    found = kind_of(span.service, span.name)
    assert found is not None, f"docs/tracing.md has no span {span}"
    return found


def ours(day: Day) -> list[Seen]:
    return [each for each in day.spans if each.service != AUTHOR]


def test_every_span_attribute_and_event_is_one_that_the_table_has(day: Day) -> None:
    for span in ours(day):
        known = kind(span)
        assert ROLES[span.kind] == known.role, span
        assert {*span.attributes} <= {*known.attributes}, span
        assert {name for name, _ in span.events} <= {*known.events}, span


def test_nothing_that_the_table_has_is_missing(day: Day) -> None:
    spans = ours(day)
    assert {kind(each) for each in spans} == {*TABLE}
    assert {name for each in spans for name, _ in each.events} | NOT_OF_THIS_DAY == {*EVENTS}
    said = {name for each in spans for name in (*each.attributes, *(name for _, of in each.events for name in of))}
    assert {name for name in said if not name.startswith("exception.")} | NOT_SAID_THIS_DAY == {*ATTRIBUTES}


def test_it_is_one_tree_and_nobody_in_it_is_older_than_what_it_is_part_of(day: Day) -> None:
    above = {each.id: each for each in day.spans}
    for span in day.spans:
        if span.parent != day.root:
            assert above[span.parent].start <= span.start + 1_000_000, (span, above[span.parent])
    assert {day.way(each)[-1].split()[0] for each in day.spans} == {"POST", "PUT", "GET", "tools/call", "call", "state", "store", "route"}


def test_every_span_of_what_came_with_a_state_of_the_trace_has_it(day: Day) -> None:
    for span in day.spans:
        assert span.state == (STATE if day.way(span)[-1].startswith(("POST", "PUT", "GET", "store")) else ""), span


def test_a_tool_the_state_it_reads_and_what_it_calls_are_below_one_another(day: Day) -> None:
    http = "POST /v1/pools/{namespace}/{pool}/tools/{tool}"
    first, *_ = sorted(day.named("tool report"), key=lambda each: each.start)
    way = ["tool report", "route report", "call report", http]
    assert day.way(first) == way
    own = day.below(first, "draw the chart")
    assert own.service == AUTHOR
    nested = day.below(day.below(own, "route totals"), "tool totals")
    assert day.way(nested) == ["tool totals", "route totals", "draw the chart", *way]
    written = day.below(first, "state set")
    assert written.attributes["snakepit.state_key"] == "title"
    assert day.below(written, "store set").attributes["snakepit.session_id"] == "ada"


def test_what_a_client_does_with_a_sessions_state_itself_is_there_too(day: Day) -> None:
    http = "GET /v1/pools/{namespace}/{pool}/sessions/{session}/state/{key:path}"
    fine, refused = sorted((each for each in day.named("state get") if day.way(each)[-1] == http), key=lambda each: each.start)
    assert (fine.service, day.below(fine, "store get").error) == ("snakepit-gateway", "")
    assert (refused.error, refused.attributes["snakepit.started"]) == ("SESSION_NOT_FOUND", "no")
    (plain,) = [each for each in day.named("store get") if each.parent == day.root]
    assert plain.attributes["snakepit.session_id"] == "ada"
    (written,) = [each for each in day.named("state set") if each.parent == day.root]
    assert (written.service, written.attributes["snakepit.state_key"]) == ("snakepit-client", "title")
    assert day.below(written, "store set").attributes["snakepit.session_id"] == "byron"


def test_a_session_whose_worker_has_died_is_told_to_be_on_another_one(day: Day) -> None:
    first, second = sorted(day.named("route report"), key=lambda each: each.start)
    assert events(first)[-3:] == ["bound", "sent", "answered"]
    assert events(second)[-3:] == ["rebound", "sent", "answered"]
    assert (first.attributes["snakepit.session_epoch"], second.attributes["snakepit.session_epoch"]) == (1, 2)


def test_a_call_that_runs_again_on_another_worker_has_both_runs(day: Day) -> None:
    (route,) = day.named("route frail")
    told = events(route)
    assert (told.count("rerun"), told[-2:], told.index("sent") < told.index("rerun")) == (1, ["sent", "answered"], True)
    assert route.attributes["snakepit.tries"] == told.count("sent")
    lost, ran = sorted(day.named("tool frail"), key=lambda each: each.start)
    assert {lost.parent, ran.parent} == {route.id}
    assert (lost.error, lost.attributes["snakepit.started"], ran.error) == ("WORKER_LOST", "maybe", "")
    assert lost.attributes["process.pid"] != ran.attributes["process.pid"]


def test_a_wait_in_the_queue_is_the_time_between_two_events(day: Day) -> None:
    (route,) = [each for each in day.named("route totals") if day.way(each)[1] == "call totals"]
    assert events(route)[:2] == ["queued", "sent"]
    queued, sent = route.moments[:2]
    assert queued < sent
    assert (sent - queued) / 1e9 == pytest.approx(route.attributes["snakepit.queue_seconds"], abs=0.1)


def test_a_failure_has_its_reason_and_whether_the_tool_may_have_run(day: Day) -> None:
    (died,) = day.named("route die")
    assert (died.error, died.attributes["error.type"], died.attributes["snakepit.started"]) == ("WORKER_LOST", "WORKER_LOST", "maybe")
    (refused,) = day.named("route nothing")
    assert (refused.error, refused.attributes["snakepit.started"]) == ("TOOL_NOT_FOUND", "no")
    raised = day.named("tool fail")
    assert len(raised) == 4, "by Python, Go, HTTP and MCP"
    for each in raised:
        ((name, said),) = each.events
        assert (name, said["exception.type"], said["exception.message"]) == ("exception", "LookupError", "nothing there")
        assert 'raise LookupError("nothing there")' in said["exception.stacktrace"]
        assert (each.error, each.attributes["snakepit.started"]) == ("LookupError", "yes")


def test_callers_in_every_language_are_part_of_the_trace(day: Day) -> None:
    chains = [day.way(each) for each in day.named("tool echo")]
    chains += [day.way(each) for each in day.named("tool count")]
    assert ["tool echo", "route echo"] in chains, "Go, by plain gRPC"
    assert ["tool count", "route count"] in chains, "Go's stream"
    assert ["tool count", "route count", "call count"] in chains, "Python's stream"
    assert ["tool echo", "route echo", "call echo", "tools/call echo"] in chains, "MCP"


def test_a_function_that_a_client_offers_is_below_the_tool_that_asked(day: Day) -> None:
    (approve,) = day.named("tool approve")
    assert day.way(approve) == ["tool approve", "ask approve", "tool ask", "route ask", "call ask"]
