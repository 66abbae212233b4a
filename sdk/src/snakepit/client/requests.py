"""How a call is written down, for the link and for ExecuteStream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, get_args

import msgspec

from snakepit._ipc import frames
from snakepit._ipc.sections import sizes
from snakepit._names import call_id, check_tool
from snakepit._values import digests
from snakepit._values.payloads import JSON, PICKLE
from snakepit._values.strings import check
from snakepit.client import codec
from snakepit.errors import InvalidArguments
from snakepit.v1 import call_pb2, common_pb2, link_pb2, router_pb2

Affinity = Literal["hint", "strict_queue", "strict_fail_fast"]
Encoding = Literal["json", "msgpack", "pickle"]
Priority = Literal["high", "normal", "low"]
CallState = Literal["queued", "running", "ended"]

_AFFINITIES: dict[str, Any] = {word: common_pb2.Affinity.Value(f"AFFINITY_{word.upper()}") for word in get_args(Affinity)}
_PRIORITIES: dict[str, Any] = {word: common_pb2.Priority.Value(f"PRIORITY_{word.upper()}") for word in get_args(Priority)}
_CALL_STATES: dict[str, Any] = {word: call_pb2.CallState.Value(f"CALL_STATE_{word.upper()}") for word in get_args(CallState)}


class Target(msgspec.Struct, frozen=True):
    """Where calls go: a pool, and perhaps one of its sessions."""

    pool: str
    session_id: str = ""
    affinity: common_pb2.Affinity = common_pb2.AFFINITY_UNSPECIFIED
    content_type: str = JSON
    attached: bool = False

    @property
    def trusted(self) -> bool:
        """The caller asked for pickle, so its answers are unpickled."""
        return self.content_type == PICKLE

    @property
    def reading(self) -> codec.Reading:
        """How the caller reads results."""
        if not self.attached and not self.trusted:
            return codec.decode
        return partial(codec.decode, trusted=self.trusted, attached=self.attached)


def affinity_value(affinity: str | None) -> common_pb2.Affinity:
    """Raises InvalidArguments for an unknown word."""
    number: common_pb2.Affinity = common_pb2.AFFINITY_UNSPECIFIED if affinity is None else _number("affinity", affinity, _AFFINITIES)
    return number


def call_state(state: str | None) -> call_pb2.CallState:
    """Raises InvalidArguments for an unknown word."""
    number: call_pb2.CallState = call_pb2.CALL_STATE_UNSPECIFIED if state is None else _number("state", state, _CALL_STATES)
    return number


def _number(what: str, word: str, numbers: Mapping[str, Any]) -> Any:
    if not isinstance(word, str) or word not in numbers:
        *others, last = numbers
        raise InvalidArguments(f"{what} {word!r} is unknown: use {', '.join(others)} or {last}")
    return numbers[word]


def checked_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """The same. Raises InvalidArguments."""
    if not isinstance(metadata, Mapping):
        raise InvalidArguments(f"metadata must be a mapping of names to texts, not {type(metadata).__name__}")
    for key, value in metadata.items():
        check(f"metadata {key!r}", value)
        check(f"metadata {key!r}", key)
    return metadata


def call_frame(
    target: Target,
    tool: str,
    arguments: Mapping[str, Any] | frames.Payload | None,
    idempotency_key: str | None,
    metadata: Mapping[str, str] | None,
    priority: Priority | None = None,
    caller: link_pb2.Caller | None = None,
) -> tuple[link_pb2.Frame, frames.Payload | None]:
    """A frame that holds a call; and its arguments beside it, where they are large. `caller`: whose it is, if not the client's own.

    Filled in place: building its parts first and copying them in takes three times as long.
    """
    frame = link_pb2.Frame()
    call = frame.call
    call.call_id = call_id()
    call.pool, call.tool = target.pool, tool if type(tool) is str and tool.isascii() else check_tool(tool)
    if isinstance(arguments, frames.Payload):
        large = codec.fill_encoded(call.arguments, arguments)
    else:
        large = codec.fill_arguments(call.arguments, arguments, target.content_type)
    if large is not None:
        call.pieces.sections.extend(sizes(large))
    if target.session_id:
        call.session_id = target.session_id
    if target.affinity:
        call.affinity = target.affinity
    if idempotency_key:
        call.idempotency_key = check("idempotency_key", idempotency_key)
        if large is not None:
            call.arguments_digest = digests.of_payload(large)
    if metadata:
        call.metadata.update(checked_metadata(metadata))
    if priority:
        call.priority = _number("priority", priority, _PRIORITIES)
    if caller is not None:
        call.caller.CopyFrom(caller)
    return frame, large


_SHARED = ("pool", "tool", "session_id", "affinity", "idempotency_key", "metadata", "priority", "progress")


def stream_request(call: link_pb2.Call) -> router_pb2.ExecuteStreamRequest:
    """The same call for ExecuteStream."""
    shared: dict[str, Any] = {name: getattr(call, name) for name in _SHARED}
    return router_pb2.ExecuteStreamRequest(payload=call.arguments, **shared)
