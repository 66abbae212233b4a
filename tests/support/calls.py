"""Calls as the control plane's model has them, without a replica around them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from snakepit.v1 import link_pb2
from snakepit_control_plane.model.call import Call, Reply, request_of


def make_call(caller: Hashable = None, reply: Reply = lambda *_: None, now: float = 0.0, **fields: Any) -> Call:
    """`fields` are those of its frame."""
    frame = link_pb2.Frame(call=link_pb2.Call(**fields))
    request = request_of(frame.call, now, caller)
    return Call(request, request.tool, frame, frame.call, reply)
