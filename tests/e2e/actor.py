"""The adapter that acts in the scenes; it gets into the pods by a ConfigMap.

Its tools say at a desk, a socket of the scene's, when they begin, and wait there until they may go on. A tool's line to the desk breaks
when its process dies.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from snakepit import Adapter, Context, SnakepitError, tool


def me() -> dict[str, Any]:
    return {"pod": os.environ.get("HOSTNAME", ""), "pid": os.getpid()}


class Visit:
    """One tool at the desk, `host:port`, for as long as it runs."""

    def __init__(self, desk: str, text: str) -> None:
        host, _, port = desk.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=None)
        self.say(text=text, **me())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def say(self, **fields: Any) -> None:
        self._socket.sendall(json.dumps(fields).encode() + b"\n")

    def wait(self) -> None:
        """Until the desk says go on. Raises ConnectionError when the scene is over."""
        if not self._socket.recv(1):
            raise ConnectionError("the desk is closed")


class Actor(Adapter):
    @tool
    def where(self) -> dict[str, Any]:
        """Pod and process that answered."""
        return me()

    @tool
    def wait(self, desk: str, text: str) -> dict[str, Any]:
        """Say at the desk that it has begun, and go on when it may."""
        with Visit(desk, text) as visit:
            visit.wait()
        return me()

    @tool(idempotent=True)
    def wait_again(self, desk: str, text: str) -> dict[str, Any]:
        """The same, and it may be run twice."""
        return self.wait(desk, text)

    @tool
    def insist(self, desk: str, text: str, *, ctx: Context) -> str:
        """Does not stop when it is told to: goes on when it may, then writes, and answers as if nothing had been."""
        with Visit(desk, text) as visit:
            while True:
                try:
                    visit.wait()
                    break
                except ConnectionError:
                    raise
                except BaseException:
                    visit.say(event="told to stop")
            try:
                ctx.state.set("k", "late")
            except SnakepitError as error:
                visit.say(event="refused", reason=error.reason)
        return "late"

    @tool
    def remember(self, key: str, value: Any, *, ctx: Context) -> int:
        return ctx.state.set(key, value)

    @tool
    def recall(self, key: str, *, ctx: Context) -> list[Any]:
        """Value and version."""
        return list(ctx.state.get_versioned(key))

    @tool
    def echo(self, value: Any) -> Any:
        return value

    @tool
    def make(self, size: int) -> bytes:
        return bytes(size)

    @tool
    def endless(self, desk: str, text: str, size: int) -> Iterator[bytes]:
        """Chunks, each of them counted at the desk."""
        with Visit(desk, text) as visit:
            while True:
                visit.say(event="made")
                yield bytes(size)
