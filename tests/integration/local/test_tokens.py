"""`snakepit dev --token-file`: callers are asked who they are, and what dev starts gets in by itself."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import snakepit
from snakepit import Client as AsyncClient
from snakepit._wire.token import Token
from snakepit.cli.app import run
from snakepit.errors import PermissionDenied, SessionNotFound, SnakepitError, Unauthenticated
from snakepit.sync import Client
from snakepit_operator.fleet import Fleet
from support.dev_server import Dev, Program, dev, pool_file, ready_dev, wait_until
from support.pages import blocks
from support.ports import free_port
from support.simulated_agent import SimulatedAgent

ADA, BOB = "ada-0123456789abcdef", "bob-0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "tokens.csv").write_text(f'{ADA},ada,1,"staff"\n{BOB},bob\n')
    (folder / "ada").write_text(ADA)
    (folder / "bob").write_text(BOB)
    (folder / "nobody").write_text("nobody-0123456789abcdef")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Dev]:
    gateway = f"127.0.0.1:{free_port()}"
    with ready_dev(
        pool_file(folder, "sample", "support.sample:Sample"), "--token-file", folder / "tokens.csv", "--gateway", gateway
    ) as running:
        yield running


def test_each_caller_is_known_by_its_token_and_has_sessions_of_its_own(server: Dev, folder: Path) -> None:
    server.says("callers bring a token")
    with Client(server.server, token_file=folder / "ada") as ada, Client(server.server, token_file=folder / "bob") as bob:
        assert ada.pool("sample").call("who") == ["ada", ["staff", "system:authenticated"]]
        assert bob.pool("sample").call("who") == ["bob", ["system:authenticated"]]
        with ada.pool("sample").session("hers") as session:
            session.call("echo", {"value": 1})
            with pytest.raises(SessionNotFound):
                bob.pool("sample").session("hers").call("echo", {"value": 1})
        with pytest.raises(PermissionDenied, match="may not impersonate users 'bob'"):
            ada.as_caller("bob").pool("sample").call("who")
        assert ada.as_caller(token=BOB).pool("sample").call("who") == ["bob", ["system:authenticated"]]
        assert ada.as_caller(token=BOB).whoami().subject == "bob"
        with pytest.raises(Unauthenticated, match="none of --token-file's"):
            ada.as_caller(token="nobody-0123456789abcdef").pool("sample").call("who")


async def test_a_gateway_calls_for_its_caller_as_the_page_says(server: Dev, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (page,) = (block.text for block in blocks("docs/security.md", "python", "Gateways"))
    for shown, here in (('"models/digits"', '"sample"'), ("await hers.", "said = await hers."), ('"classify", {"image": image}', '"who"')):
        assert shown in page
        page = page.replace(shown, here)
    monkeypatch.setenv("SNAKEPIT_SERVER", server.server)
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", str(folder / "ada"))
    names: dict[str, Any] = {"snakepit": snakepit, "token": BOB}
    await eval(compile(page, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    assert names["said"] == ["bob", ["system:authenticated"]]


def test_whoami_says_whose_the_token_is(
    server: Dev, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAKEPIT_SERVER", server.server)
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", str(folder / "ada"))
    assert run(["whoami"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["ATTRIBUTE", "VALUE"],
        ["Subject", "ada"],
        ["Groups", "staff,", "system:authenticated"],
        ["Expires", "never"],
    ]
    assert run(["whoami", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"subject": "ada", "groups": ["staff", "system:authenticated"], "expires": None}


def test_whoever_has_none_or_none_of_the_files_is_refused(server: Dev, folder: Path) -> None:
    for file, why in ((None, "sent no token"), (folder / "nobody", "none of --token-file's")):
        with Client(server.server, token_file=file) as stranger, pytest.raises(Unauthenticated, match=why):
            stranger.pool("sample").call("who")


def test_the_gateway_calls_as_whoever_brings_a_token_and_for_nobody_else(server: Dev) -> None:
    def who(**headers: str) -> httpx.Response:
        return httpx.post(f"{server.gateway}/v1/pools/default/sample/tools/who", json={}, headers=headers, timeout=30)

    assert who(Authorization=f"Bearer {ADA}").json() == ["ada", ["staff", "system:authenticated"]]
    assert who(Authorization=f"Bearer {BOB}").json() == ["bob", ["system:authenticated"]]
    for stranger in (who(), who(Authorization="Bearer nobody-0123456789abcdef")):
        assert stranger.status_code == 401
        assert stranger.json()["reason"] == "UNAUTHENTICATED"
        assert "Bearer" in stranger.headers["www-authenticate"]


def test_a_callers_token_makes_nobody_an_agent_or_the_operator(server: Dev, folder: Path) -> None:
    async def play() -> None:
        agent = SimulatedAgent(server.server, pool="default/sample", token_file=folder / "ada")
        agent.dial()
        fleet = Fleet(server.server, lambda pool, essential: None, Token(folder / "ada"))
        fleet.set_pools([])
        running = asyncio.create_task(fleet.run())
        try:
            async with asyncio.timeout(20):
                while not isinstance(agent.refused, PermissionDenied):
                    await asyncio.sleep(0.01)
            async with AsyncClient(server.server, token_file=folder / "ada") as ada:
                assert [each.name for each in await ada.pools()] == ["default/sample"]
            assert not fleet.heard.is_set()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await agent.stop()

    asyncio.run(play())


def test_the_file_is_read_again_when_it_changes_and_one_that_is_broken_says_its_line(server: Dev, folder: Path) -> None:
    tokens = folder / "tokens.csv"
    before = tokens.read_text()

    def refusal() -> str:
        try:
            with Client(server.server, token_file=folder / "nobody") as client:
                client.pool("sample").call("who")
        except SnakepitError as error:
            return str(error)
        return ""

    tokens.write_text(before + "short,eve\n")
    wait_until(lambda: "--token-file can't be used: line 3" in refusal(), "the line is named")
    tokens.write_text(before + f"{(folder / 'nobody').read_text()},eve\n")
    wait_until(lambda: not refusal(), "the new token is known")


def test_a_file_that_can_t_be_used_is_said_at_once(tmp_path: Path) -> None:
    pool = pool_file(tmp_path, "sample", "support.sample:Sample")
    (tmp_path / "short").write_text("short,ada\n")
    for file, why in (("none", "No such file or directory"), ("short", "line 1: use token,subject,uid")):
        with dev(pool, "--token-file", tmp_path / file) as program:
            assert Program.wait(program) == 2
            assert why in program.output
