"""Who calls, on its way to the tool."""

from __future__ import annotations

import pytest

from snakepit._ipc.callers import read, written
from snakepit_control_plane.model.caller import NOBODY, Caller


@pytest.mark.parametrize("groups", [(), ("staff", "system:authenticated"), ("\u00e9" * 1024,) * 64])
def test_who_calls_is_read_as_it_was_written(groups: tuple[str, ...]) -> None:
    assert read(written("ada", groups)) == ("ada", groups)
    assert read(Caller("ada", "ada", groups).identity) == ("ada", groups)


def test_of_nobody_nothing_is_written_and_read() -> None:
    assert NOBODY.identity == Caller("link 1").identity == b""
    assert read(b"") == ("", ())
