"""Who has a token and no business with somebody else's sessions, tools and results."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit import Client, tool
from snakepit._wire.bulk import LaneBroken, Piece
from snakepit._wire.status import from_rpc_error
from snakepit.errors import InvalidArguments, SnakepitError, StaleEpoch, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.bare_client import Client as Bare
from support.bare_client import bare_client
from support.capsules import capsule, ready, spec
from support.control_plane import Caller, eventually
from support.issuer import AUDIENCE, Issuer, pod_claims, signed
from support.simulated_agent import POOL
from support.simulated_tools import payload


@pytest.fixture
def own_settings(signs: Issuer) -> dict[str, Any]:
    return {"authentication": signs.settings()}


def token_of(name: str) -> str:
    return signed(pod_claims(f"{name}-0", "shop/none", aud=[AUDIENCE], sub=f"system:serviceaccount:shop:{name}"))


@contextlib.asynccontextmanager
async def client(server: Running, folder: Path, name: str) -> AsyncIterator[Client]:
    file = folder / f"token of {name}"
    file.write_text(token_of(name))
    async with Client(server.address, token_file=file) as made:
        yield made


@pytest.fixture
async def ada(server: Running, tmp_path: Path) -> AsyncIterator[Client]:
    """The victim, whose pool has a capsule."""
    (tmp_path / "token").write_text(signed(pod_claims("capsule-0", POOL)))
    own = {"pool": POOL, "capsule": "capsule-0", "pod_uid": "pod-uid", "token_file": tmp_path / "token"}
    async with capsule(spec("support.asking:Asking"), server, **own), client(server, tmp_path, "ada") as made:
        await ready(made.pool(POOL))
        yield made


@tool(name="confirm")
def lies() -> str:
    return "eve's"


@tool(name="confirm")
def honest() -> str:
    return "ada's"


async def test_what_somebody_offers_for_anothers_session_is_not_called_from_there(server: Running, ada: Client, tmp_path: Path) -> None:
    async with (
        client(server, tmp_path, "eve") as eve,
        ada.pool(POOL).session("mine") as mine,
        eve.offer(lies, session=eve.pool(POOL).session("mine")),
    ):
        with pytest.raises(SnakepitError, match="no client offers one for it or for this session"):
            await mine.call("ask", {"name": "confirm"})
        async with ada.offer(honest, session=mine):
            assert await mine.call("ask", {"name": "confirm"}) == "ada's"
            assert [each.name for each in await mine.tools() if each.provider == "client"] == ["confirm"]


async def test_nobody_takes_the_name_of_a_workers_tool_for_a_session_either(ada: Client) -> None:
    async with ada.pool(POOL).session("mine") as mine:
        with pytest.raises(InvalidArguments, match="have a tool 'ask' themselves"):
            async with ada.offer(tool(name="ask")(lambda: None), session=mine):
                pass


async def fetched(bare: Bare, call_id: str) -> int:
    """How many bytes come."""
    lane = await bare.bulk.open(listens=True)
    await lane.write(link_pb2.FromClient(fetch=call_id).SerializeToString())
    size, room = 0, memoryview(bytearray(65536))
    try:
        while (message := await lane.read()) is not None:
            while isinstance(message, Piece) and message.left:
                size += await message.some(room)
    except LaneBroken as error:
        raise from_rpc_error(error) from None
    finally:
        lane.cancel()
    return size


async def test_a_large_result_is_its_callers_and_nobody_elses_who_has_its_id(server: Running, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(signed(pod_claims("capsule-0", POOL)))
    own = {"pool": POOL, "capsule": "capsule-0", "pod_uid": "pod-uid", "token_file": tmp_path / "token"}
    async with (
        capsule(spec("support.bulky:Bulky"), server, **own),
        client(server, tmp_path, "ada") as ada,
        bare_client(server.address, token_of("ada")) as hers,
        bare_client(server.address, token_of("eve")) as eve,
    ):
        await ready(ada.pool(POOL))
        assert hers.replica is not None
        call = link_pb2.Call(id=1, call_id="hers", pool=POOL, tool="make", arguments=payload({"size": 700_000}))
        hers.replica.link.send(link_pb2.Frame(call=call))
        await eventually(lambda: 1 in hers.results)
        assert hers.results[1].HasField("pieces"), hers.results
        with pytest.raises(StaleEpoch):
            await fetched(eve, "hers")
        assert await fetched(hers, "hers") >= 700_000


async def test_who_has_no_token_is_not_told_which_pools_there_are(server: Running, ada: Client) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stranger = Caller(channel)
        for asked in (stranger.call("echo", pool="test"), stranger.create("s", pool="test"), stranger.listed()):
            with pytest.raises(Unauthenticated) as refused:
                await asked
            assert POOL not in refused.value.message
