"""A link whose token has expired, and what a client writes into a call that only a replica may say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import client_link
from support.bare_client import bare_client
from support.callers import ADA, token
from support.control_plane import clients, eventually
from support.reviewer import Reviewer
from support.simulated_agent import SimulatedAgent


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


async def test_a_link_whose_token_has_expired_takes_nothing_more_and_ends_with_what_still_runs(
    server: Running, agent: SimulatedAgent, asks: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_link, "EXPIRED_SECONDS", 2.0)
    asks.give(ADA, CALL)
    async with bare_client(server.address, token(ADA, exp=time.time() - 6)) as client:
        running = client.call("hang")
        await eventually(lambda: agent.running, "its call runs")
        (link,) = clients(server)
        await eventually(lambda: client.gone_away, "its token expires")
        late = client.call("echo")
        await eventually(lambda: late in client.results, "a call that comes later is answered")
        error = client.results[late].error
        assert (error.reason, "has expired: give its next one in time" in error.message) == ("UNAUTHENTICATED", True)
        await eventually(lambda: link not in server.links.links, "the link ends")
        await eventually(lambda: agent.cancelled, "and so does its call")
        assert running not in client.results or client.results[running].HasField("error")
        assert len(agent.calls) == 1


async def test_what_only_a_replica_may_say_of_a_call_is_not_believed(server: Running, agent: SimulatedAgent, asks: Reviewer) -> None:
    asks.give(ADA, CALL)
    async with bare_client(server.address, token(ADA)) as client:
        one = client.call("echo", ahead=True, worker="another/0", incarnation="another", identity=b"somebody")
        await eventually(lambda: one in client.results, "it is answered")
        assert client.results[one].HasField("payload")
        (call,) = agent.calls
        assert not call.ahead
        assert (call.worker, call.incarnation) == ("test-0/0", agent.lives["test-0/0"])
        assert call.identity != b"somebody"
