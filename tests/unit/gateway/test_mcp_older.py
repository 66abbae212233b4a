"""What a client before 2026-07-28 gets: JSON, and a stream as soon as its answer takes long enough for a proxy to lose patience."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from snakepit_gateway.mcp import older

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
BODY = {"type": "http.response.body", "body": b'{"id":1}'}


class Client:
    """Who is sent an answer, and `reads` its beginning in its own time."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.came = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()

    async def send(self, message: Any) -> None:
        self.came.set()
        if message["type"] == "http.response.start":
            await self.reads.wait()
        self.got.append(message)

    @property
    def text(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.got)


@pytest.mark.parametrize(
    ("body", "method", "hears"),
    [
        (b'{"id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":0}}}', "tools/call", True),
        (b'{"id":1,"method":"tools/call","params":{"name":"x","_meta":{"traceparent":"00"}}}', "tools/call", False),
        (b'{"id":1,"method":"ping"}', "ping", False),
        (b'{"id":1,"method":"tools/call","params":null}', "", False),
        (b'[{"method":"tools/call"}]', "", False),
        (b'{"method":"\xff"}', "", False),
        (b"", "", False),
    ],
)
def test_a_message_is_read_for_its_method_and_its_progress_token_and_no_bad_one_raises(body: bytes, method: str, hears: bool) -> None:
    asking = older.asking(body)
    assert (asking.method, asking.hears_progress) == (method, hears)


async def test_an_answer_in_time_is_json() -> None:
    client = Client()
    async with older.json_in_time(client.send) as send:
        await send(START)
        await send(BODY)
    assert client.got == [START, BODY]


async def test_an_answer_that_takes_long_is_the_one_event_of_a_stream_in_which_something_is_said_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(older, "PING_SECONDS", 0.001)
    client = Client()
    async with older.json_in_time(client.send) as send:
        async with asyncio.timeout(10):
            while client.text.count(b"ping") < 2:
                await asyncio.sleep(0)
        await send({**START, "status": 500})
        await send(BODY)
    assert client.got[0]["status"] == 200
    assert dict(client.got[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert client.text.replace(b": ping\r\n\r\n", b"") == b'event: message\r\ndata: {"id":1}\r\n\r\n'
    assert [each.get("more_body") for each in client.got[-2:]] == [True, False]


async def test_an_answer_that_comes_while_the_stream_begins_waits_for_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(older, "PING_SECONDS", 0.001)
    client = Client()
    client.reads.clear()
    async with older.json_in_time(client.send) as send:
        async with asyncio.timeout(10):
            await client.came.wait()
        answering = asyncio.gather(send(START), send(BODY))
        await asyncio.sleep(0)
        assert not answering.done()
        client.reads.set()
        await answering
    assert [each["type"].rpartition(".")[2] for each in client.got] == ["start", "body"]
    assert client.text == b'event: message\r\ndata: {"id":1}\r\n\r\n'
