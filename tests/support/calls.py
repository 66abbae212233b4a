"""Calls as the control plane's model has them, without a replica around them."""

from __future__ import annotations

from typing import Any

from snakepit.v1 import link_pb2
from snakepit_control_plane.model.call import Call, Reply, request_of
from snakepit_control_plane.model.caller import Caller


def make_call(caller: str = "", reply: Reply = lambda *_: None, now: float = 0.0, **fields: Any) -> Call:
    """`fields` are those of its frame."""
    frame = link_pb2.Frame(call=link_pb2.Call(**fields))
    request = request_of(frame.call, now, Caller(caller))
    return Call(request, request.tool, frame, frame.call, reply)
