"""The keys that tokens are signed with: fetched once for all who wait, kept while nobody has them, and forgotten when they are old."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from snakepit.errors import ServerUnavailable, Unauthenticated
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import keys as keys_module
from snakepit_control_plane.authentication.guarded import Guarded
from snakepit_control_plane.authentication.keys import OLD_SECONDS, PAUSE_SECONDS, Keys, fetch
from snakepit_control_plane.authentication.tokens import parse_keys
from support.issuer import Clock, Issuer, Kept, pod_claims, signed

POOL = "default/digits"


async def test_keys_are_fetched_once_for_all_who_wait_for_them() -> None:
    source, token = Kept("one"), signed(pod_claims("digits-0", POOL))
    source.gate.clear()
    guarded = Guarded(Issuer(url="/nowhere").settings(), Keys(source.fetch))
    claimed = link_pb2.Capsule(name="digits-0", pool=POOL, pod_uid="pod-uid")
    sent = [("authorization", f"Bearer {token}")]
    waiting = [asyncio.create_task(guarded.admit_agent(sent, claimed)) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()
    await asyncio.gather(*waiting)
    assert source.fetches == 1


async def test_a_token_of_a_new_key_has_the_keys_fetched_again_but_not_more_often_than_that() -> None:
    source, clock = Kept("one"), Clock()
    keys = Keys(source.fetch, clock)
    await keys.find("one")
    source.key_ids = ["two"]
    for _ in range(5):
        with pytest.raises(Unauthenticated, match=r"signed with key 'two', which .* doesn't have"):
            await keys.find("two")
    assert source.fetches == 1
    clock.now += PAUSE_SECONDS
    await keys.find("two")
    with pytest.raises(Unauthenticated, match="signed with key 'one'"):
        await keys.find("one")
    assert source.fetches == 2


async def test_a_key_that_its_issuer_has_dropped_is_forgotten_when_the_keys_are_old() -> None:
    source, clock = Kept("one"), Clock()
    keys = Keys(source.fetch, clock)
    await keys.find("one")
    source.key_ids = ["two"]
    clock.now += OLD_SECONDS + 1
    await keys.find("one")  # That they are old is noticed here, and nobody waits for it.
    await keys.find("two")  # Waits for the same fetch.
    with pytest.raises(Unauthenticated):
        await keys.find("one")


async def test_while_keys_cannot_be_fetched_those_that_are_known_go_on_and_others_wait_for_better_times() -> None:
    source, clock = Kept("one"), Clock()
    keys = Keys(source.fetch, clock)
    await keys.find("one")
    source.fail = OSError("connection refused")
    clock.now += OLD_SECONDS * 10
    with pytest.raises(Unauthenticated, match=r"newer keys can't be fetched: .*connection refused"):
        await keys.find("two")
    await keys.find("one")


async def test_without_any_keys_yet_the_refusal_says_why_and_that_is_not_the_tokens_fault() -> None:
    source, clock = Kept("one"), Clock()
    source.fail = OSError("connection refused")
    keys = Keys(source.fetch, clock)
    for _ in range(3):
        with pytest.raises(ServerUnavailable, match=r"tokens can't be checked now: the keys can't be fetched: connection refused"):
            await keys.find("one")
    assert source.fetches == 1
    source.fail = None
    clock.now += PAUSE_SECONDS
    await keys.find("one")


async def test_an_issuer_that_hangs_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "FETCH_SECONDS", 0.05)
    source = Kept("one")
    source.gate.clear()
    try:
        with pytest.raises(ServerUnavailable, match="did not come within"):
            await Keys(source.fetch).find("one")
    finally:
        source.gate.set()


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, b""],
    ids=["no HTTP", "too many headers", "nested", "nothing"],
)
async def test_whatever_is_answered_in_place_of_keys_is_no_fault_of_ours_or_the_tokens(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        keys = Keys(lambda: fetch(Issuer().settings(keys=url)))
        with pytest.raises(ServerUnavailable, match=r"tokens can't be checked now: the keys can't be fetched: .+"):
            await keys.find("one")


def test_keys_come_out_of_a_file_too_and_the_issuer_out_of_our_own_token(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_bytes(Issuer().jwks())
    (tmp_path / "token").write_text(signed({"iss": "https://ours.example"}, "two") + "\n")
    settings = Issuer().settings(keys=str(tmp_path / "jwks"), issuer="", token_file=str(tmp_path / "token"))
    issued = fetch(settings)
    assert (issued.issuer, issued.keys.keys()) == ("https://ours.example", {"one"})


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"keys": []}', b'{"keys": 1}', b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', b"\xff"])
def test_what_is_no_jwks_gives_no_keys(data: bytes) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        parse_keys(data)
