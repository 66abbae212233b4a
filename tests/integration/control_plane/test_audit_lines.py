"""What no line of the audit log has, at its fullest: anything that a call is made with."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client
from snakepit.errors import SnakepitError
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from support.callers import ADA, BOB, put, token
from support.control_plane import Caller
from support.issuer import Issuer
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

SECRET = "hunter2"


@pytest.fixture
def own_settings(signs: Issuer, asks: Reviewer, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "own").write_text("own")
    return {"authentication": signs.settings(api_server=asks.url, token_file=str(tmp_path / "own"), audit="all")}


async def test_the_audit_log_says_who_and_what_and_why_and_never_with_which_arguments(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asks.give(ADA, CALL)
    with caplog.at_level(logging.INFO, "snakepit.audit"):
        for who in (ADA, BOB):
            async with Client(server.address, token_file=put(tmp_path / "token", token(who))) as client:
                pool = client.pool(POOL)
                with contextlib.suppress(SnakepitError):
                    await pool.call("echo", {"a": SECRET}, metadata={"m": SECRET}, idempotency_key=SECRET)
                with contextlib.suppress(SnakepitError):
                    await pool.call("echo", {"a": SECRET * 100_000})
            async with grpc.aio.insecure_channel(server.address) as channel:
                plain = Caller(channel, token(who))
                with contextlib.suppress(SnakepitError):
                    await plain.create("s", metadata={"m": SECRET})
                with contextlib.suppress(SnakepitError):
                    await plain.call("echo", {"a": SECRET}, session_id="s", metadata={"m": SECRET})
    lines = [json.loads(each.getMessage()) for each in caplog.records if each.name == "snakepit.audit"]
    assert {(each["subject"], each["right"], each["allowed"]) for each in lines} == {
        (ADA, "create snakepools/call", True),
        (BOB, "create snakepools/call", False),
    }
    assert {name for each in lines for name in each} == {"subject", "groups", "right", "pool", "allowed", "reason"}
    assert SECRET not in str(lines)
