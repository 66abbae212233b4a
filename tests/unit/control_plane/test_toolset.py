"""What a pool's capsules offer together, and that counting it gives what collecting it anew would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakepit.v1 import common_pb2
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Toolset

OFFERS = [{name: common_pb2.Tool(name=name) for name in names} for names in ("", "a", "ab", "b", "abc")]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, len(OFFERS) - 1)), max_size=30))
def test_the_tools_are_those_that_somebody_offers_and_uniform_is_what_everybody_offers(changes: list[tuple[int, int]]) -> None:
    toolset = Toolset()
    capsules = [Capsule(f"c{number}", f"{number}", "default/p", "", 0.0) for number in range(4)]
    offered: dict[int, dict[str, common_pb2.Tool]] = {}
    for which, what in changes:
        offered[which] = OFFERS[what]
        toolset.offer(capsules[which], OFFERS[what])
        now = [offer.keys() for offer in offered.values() if offer]
        if now:
            assert toolset.tools.keys() == set[str]().union(*now)
            assert toolset.uniform == all(each == now[0] for each in now)


def test_tools_are_remembered_while_nobody_offers_any() -> None:
    toolset, capsule = Toolset(), Capsule("c", "1", "default/p", "", 0.0)
    toolset.offer(capsule, OFFERS[2])
    toolset.offer(capsule, {})
    assert sorted(toolset.tools) == ["a", "b"]
    toolset.offer(capsule, OFFERS[1])
    assert sorted(toolset.tools) == ["a"]
