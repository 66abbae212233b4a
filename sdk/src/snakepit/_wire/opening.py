"""The first message of a stream that this end opens."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc


async def write_first(rpc: Any, message: Any) -> None:
    """As `rpc.write`, but it comes back also where the RPC has ended before it was on its way: how it ended, `rpc.read` says.

    grpc.aio's own `write` waits for the RPC's metadata to leave, and for ever where the channel is closed while it still connects anew.
    """
    is_lane = not isinstance(rpc, grpc.aio.Call)
    if is_lane:
        await rpc.write(message)
        return
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    rpc.add_done_callback(end)
    writing = asyncio.ensure_future(rpc.write(message))
    try:
        await asyncio.wait((writing, ended), return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            await writing
    finally:
        writing.cancel()
