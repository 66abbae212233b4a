"""The fixture tools of MCP's conformance suite as an author of Snakepit writes them, and what our own tests ask for beside them."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from snakepit import Adapter, Attachment, Context, tool

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0D\xac\0\0\x88X\1\0\2\0\x10\0data\0\0\0\0"

Region = Annotated[str, msgspec.Meta(extra_json_schema={"x-mcp-header": "Region"})]


@dataclass
class Point:
    x: int
    note: str | None = None


@dataclass
class Page:
    """It holds files, described and told apart from text."""

    title: str
    charts: list[Attachment]


class Everything(Adapter):
    """What MCP's suite calls."""

    thread_safe = True

    @tool(title="Text", read_only=True)
    def test_simple_text(self) -> str:
        """A text."""
        return "This is a simple text response for testing."

    @tool
    def test_image_content(self) -> Attachment:
        return Attachment("image/png", PNG)

    @tool
    def test_audio_content(self) -> Attachment:
        return Attachment("audio/wav", WAV)

    @tool
    def test_embedded_resource(self) -> Attachment:
        return Attachment("text/plain", b"This is an embedded resource content.")

    @tool
    def test_multiple_content_types(self) -> list[Any]:
        data = b'{"test":"data","value":123}'
        return ["Multiple content types test:", Attachment("image/png", PNG), Attachment("application/json", data)]

    @tool
    def test_error_handling(self) -> None:
        raise RuntimeError("This tool intentionally returns an error for testing")

    @tool
    def test_tool_with_progress(self, *, ctx: Context) -> str:
        for fraction in (0.0, 0.5, 1.0):
            ctx.progress(fraction, f"{fraction:.0%}")
            time.sleep(0.05)
        return "done"

    @tool
    def test_streaming_elicitation(self, *, ctx: Context) -> str:
        ctx.progress(1.0)
        return "nobody is asked"

    @tool
    def test_logging_tool(self) -> str:
        print("what a worker prints is no client's to read")
        return "printed"

    @tool
    def test_custom_headers(self, region: Region = "", count: int = 0) -> str:
        return f"{region} {count}"

    @tool(idempotent=True, destructive=True)
    def point(self, x: int) -> Point:
        return Point(x)

    @tool
    def maybe(self, value: int | None) -> int | None:
        return value

    @tool
    def mixed(self, value: Any) -> dict[str, int] | list[int]:
        return value  # type: ignore[no-any-return]

    @tool
    def files(self) -> dict[str, Any]:
        import numpy

        return {"n": 1, "none": None, "raw": b"\xff", "chart": Attachment("image/png", PNG), "array": numpy.array([[1.5, 2], [3, 4]])}

    @tool
    def page(self) -> Page:
        return Page("sales", [Attachment("image/png", PNG), Attachment("application/octet-stream", b"\xff")])

    @tool
    def model(self) -> dict[str, Any]:
        return {"name": "m", "lock": threading.Lock()}

    @tool
    def models(self) -> Iterator[Any]:
        for _ in range(10):
            yield threading.Lock()

    @tool
    def raw(self) -> bytes:
        return b"\xff\0"

    @tool
    def words(self, count: int) -> Iterator[str]:
        for number in range(count):
            yield f"{number} "

    @tool
    def stages(self, count: int, path: str, *, ctx: Context) -> Iterator[str]:
        """Before each of its pieces it says how far it is, and waits until who hears it has made the file `path`, and its number."""
        for number in range(count):
            ctx.progress((number + 1) / count, f"stage {number}")
            while not Path(f"{path}{number}").exists():
                ctx.check()
                time.sleep(0.005)
            yield f"{number} "

    @tool
    def rows(self, count: int) -> Iterator[Point]:
        for number in range(count):
            yield Point(number)

    @tool
    def remember(self, value: str, *, ctx: Context) -> int:
        return ctx.state.set("value", value)

    @tool
    def recall(self, *, ctx: Context) -> Any:
        return ctx.state.get("value")

    @tool
    def whose(self, session: str) -> str:
        """`session` is the author's own."""
        return session

    @tool
    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"
