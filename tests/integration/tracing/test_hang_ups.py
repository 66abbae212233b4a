"""A caller of the gateway that hangs up while its request is read made no failure, and its span is none."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from snakepit_gateway.bounds import Bounds
from snakepit_gateway.room import Room
from snakepit_gateway.settings import Settings
from snakepit_gateway.traces import Traced
from support.otlp import Receiver, said

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    """As Starlette has a body read."""
    await Request(scope, receive).body()
    raise AssertionError("there was a whole body")


async def test_the_span_of_a_request_that_was_not_complete_has_no_status_and_no_error(receiver: Receiver) -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    answers: list[Message] = []
    about = {"type": "http", "scheme": "http", "method": "PUT", "path": "/v1/pools/default/p/sessions/s", "state": {}}
    headers = [(b"host", b"localhost"), (b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        answers.append(message)

    await Bounds(Traced(reads), Settings(), Room(1 << 20))({**about, "headers": headers}, receive, send)
    span = (await receiver.until({"PUT"}))["PUT"]
    assert not answers
    assert span.trace_id.hex() == TRACE
    assert (span.status.code, "http.response.status_code" in said(span)) == (0, False)
