"""What tests of large payloads share: the pool's name, waiting for its workers, and a client's bulk lane by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from snakepit._ipc.frames import Attachment, Payload
from snakepit._ipc.sections import sizes, spread
from snakepit._values.payloads import encode
from snakepit.v1 import common_pb2, link_pb2
from support.bare_client import Client
from support.control_plane import PATIENCE_SECONDS

MIB = 1024 * 1024
POOL = "default/large"
NARROW = [("grpc.http2.lookahead_bytes", 256 * 1024), ("grpc.http2.bdp_probe", 0)]
"""Options of a plain reader, whose own gRPC would else take as many megabytes as its guess at the network's speed says."""

SAMPLE = "support.bulky:Bulky"


def go_on(folder: Path, said: list[tuple[float, str]], fraction: float, message: str) -> None:
    """Of `awaited`'s progress: note it, and let the tool go on, which makes a chunk."""
    said.append((fraction, message))
    (folder / message.replace(" ", ".")).touch()


def open_memfds() -> int:
    """Of large payloads, in this process: the agent's and the tests'."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += "memfd:snakepit (" in str(entry.readlink())
        except FileNotFoundError:
            continue  # the folder's own descriptor
    return found


def tasks(name: str) -> list[str]:
    """Names of the loop's tasks that begin so."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(name)]


class ByHand:
    """One call with large arguments, whose pieces go when a test says so."""

    def __init__(self, client: Client, tool: str, arguments: dict[str, Any], **fields: Any) -> None:
        payload = encode(arguments)
        self._client = client
        self._parts = spread(payload)
        self.call = link_pb2.Call(call_id=f"by-hand-{id(self)}", pool=POOL, tool=tool, arguments=_skeleton(payload), **fields)
        self.call.pieces.sections.extend(sizes(payload))

    async def begin(self) -> int:
        """Send the call; the number of the attempt that is wanted first."""
        self.bulk = await self._client.bulk.open()
        await self.bulk.write(link_pb2.FromClient(call=self.call).SerializeToString())
        return (await self.said()).wanted

    async def said(self) -> link_pb2.ToClient:
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.bulk.read()
        assert isinstance(message, bytes)
        return link_pb2.ToClient.FromString(message)

    async def send(self, attempt: int, pieces: int | None = None) -> None:
        """So many pieces of the arguments, of a mebibyte each, from the first; None: all."""
        await self.bulk.write(link_pb2.FromClient(sending=attempt).SerializeToString())
        left = iter(range(pieces if pieces is not None else 1000))
        await self.bulk.write_payload(self._parts, lambda: next(left, None) is not None)


def _skeleton(payload: Payload) -> common_pb2.Payload:
    attachments = [_attachment(each) for each in payload.attachments]
    return common_pb2.Payload(content_type=payload.content_type, attachments=attachments)


def _attachment(each: Attachment) -> common_pb2.Attachment:
    return common_pb2.Attachment(content_type=each.content_type, dtype=each.dtype, shape=each.shape)
