"""Arguments that are built to break whoever reads them: each is refused with one sentence, or taken."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from snakepit._ipc.frames import Payload
from snakepit._values.payloads import JSON, MSGPACK
from snakepit.author.tools import as_tool
from snakepit.errors import InvalidArguments

DEEP = 100_000


def loose(value: object = None) -> object:
    return value


def strict(n: float, m: list[int]) -> None:
    """Types of its own, so that what doesn't fit is looked at twice."""


HOSTILE = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"value":' * DEEP + b"1" + b"}" * DEEP,
    "deep floats": b'{"value":' + b'{"$float":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "a number without bounds": b'{"value":1e999999999}',
    "one that is asked for": b'{"n":1e999999999,"m":[]}',
    "many digits": b'{"n":"x","m":[' + b"9" * 200_000 + b"]}",
    "an integer of text": b'{"value":{"$integer":"' + b"9" * 100_000 + b'"}}',
    "no integer": b'{"value":{"$integer":Infinity}}',
    "half a dimension": b'{"value":{"$array":0,"shape":[1.5]}}',
    "half a character": b'{"m":"\\ud800"}',
    "no text": b'"\xff\xfe"',
    "an endless text": b'{"value":"' + b"\xc3" * 1000,
    "nothing": b"",
    "deep msgpack": b"\x91" * DEEP + b"\xc0",
    "deep msgpack of a value": b"\x81\xa5value" + b"\x91" * 3000 + b"\xc0",
    "msgpack of four billion": b"\xdd\xff\xff\xff\xff",
    "an object of four billion": b"\xdf\xff\xff\xff\xff",
}


@pytest.mark.parametrize("kind", [JSON, MSGPACK])
@pytest.mark.parametrize("function", [loose, strict])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_read_is_refused_and_nothing_else_is_raised(name: str, function: Any, kind: str) -> None:
    said = ""
    with contextlib.suppress(InvalidArguments):
        try:
            as_tool(function).decode(Payload(HOSTILE[name], kind))
        except InvalidArguments as error:
            said = error.message
            raise
    assert "\n" not in said
    assert len(said) < 1000
