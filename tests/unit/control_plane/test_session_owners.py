"""Whose a session is."""

from __future__ import annotations

import pytest

from snakepit_control_plane.model.caller import NOBODY, Caller
from snakepit_control_plane.model.session import SessionRecord

ADA, BOB = Caller("ada", "ada", ("ml", "ops")), Caller("bob", "bob", ("ml",))


@pytest.mark.parametrize(
    ("owner", "group", "theirs"),
    [
        ("", "", [ADA, BOB, NOBODY]),
        ("ada", "", [ADA]),
        ("ada", "ml", [ADA, BOB]),
        ("bob", "ops", [ADA]),
    ],
    ids=["nobody was asked", "its maker's", "a group's", "that of a group that its maker has left"],
)
def test_a_session_is_its_groups_or_its_makers(owner: str, group: str, theirs: list[Caller]) -> None:
    record = SessionRecord("default/test", "s", "uid", 0.0, 0.0, 60.0, 1, owner=owner, group=group)
    assert [each for each in (ADA, BOB, NOBODY) if record.is_of(each)] == theirs
