"""What clients offer: whole or not at all, one name once in a scope, and gone with the link."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit.errors import InvalidArguments, ToolQuota
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.catalogue import Catalogue, Scope
from snakepit_control_plane.model.quotas import Limits

POOL = Scope("default/p")
SESSION = Scope("default/p", "s")


@dataclass(eq=False)
class Link:
    name: str
    subject: str = ""

    @property
    def client(self) -> tuple[str, str]:
        return self.subject, self.name


def tools(*names: str) -> list[common_pb2.Tool]:
    return [common_pb2.Tool(name=name) for name in names]


def names(known: Catalogue[Link], scope: Scope = POOL) -> list[str]:
    return [tool.name for tool in known.tools(scope)]


def test_an_offer_is_there_until_it_is_withdrawn_or_its_link_closes() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    link = Link("a")
    known.offer(link, 1, POOL, tools("x", "y"))
    known.offer(link, 2, SESSION, tools("z"))
    assert names(known) == ["x", "y"]
    assert known.find(SESSION, "x") is None
    known.withdraw(link, 1)
    assert names(known) == []
    known.leave(link)
    assert names(known, SESSION) == []
    known.leave(link)


def test_tools_are_marked_with_who_runs_them_and_for_whom() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    known.offer(link := Link("a"), 1, SESSION, tools("x"))
    found = known.find(SESSION, "x")
    assert found is not None
    assert found.provider is link
    assert (found.tool.provider, found.tool.session_id) == (common_pb2.PROVIDER_CLIENT, "s")


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (("new", "x"), "tool 'x' is offered already for pool default/p"),
        (("new", "new"), "tool 'new' is twice in this offer"),
        (("new", "Bad Name"), "tool name 'Bad Name' must be"),
        (("new", "own"), "the workers of pool default/p have a tool 'own' themselves"),
    ],
    ids=["taken", "twice", "no name", "a worker's"],
)
def test_one_wrong_name_refuses_the_whole_batch(batch: tuple[str, ...], sentence: str) -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    known.offer(Link("a"), 1, POOL, tools("x"))
    with pytest.raises(InvalidArguments, match=sentence):
        known.offer(Link("b"), 1, POOL, tools(*batch), workers={"own"})
    assert names(known) == ["x"]


def test_a_session_may_have_the_names_of_its_pool_and_never_those_of_the_workers() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    known.offer(Link("a"), 1, POOL, tools("x"))
    known.offer(Link("b"), 1, SESSION, tools("x"), workers={"own"})
    assert names(known, SESSION) == ["x"]
    with pytest.raises(InvalidArguments, match="the workers of pool default/p have a tool 'own' themselves"):
        known.offer(Link("c"), 1, SESSION, tools("own"), workers={"own"})


def test_who_gives_itself_the_name_of_anothers_client_takes_nothing_over() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    known.offer(Link("a", "ada"), 1, POOL, tools("x"))
    with pytest.raises(InvalidArguments, match="tool 'x' is offered already"):
        known.offer(Link("a", "eve"), 1, POOL, tools("x"))
    known.offer(Link("a", "eve"), 2, POOL, tools("y"))
    assert names(known) == ["x", "y"]


def test_an_offer_replaces_the_one_before_it_or_leaves_it_as_it_was() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    link = Link("a")
    known.offer(link, 1, POOL, tools("x", "y"))
    known.offer(link, 1, POOL, tools("y", "z"))
    assert names(known) == ["y", "z"]
    with pytest.raises(InvalidArguments):
        known.offer(link, 1, POOL, tools("a", "a"))
    assert names(known) == ["y", "z"]


def test_a_client_that_links_anew_takes_over_and_its_old_link_takes_nothing_away_when_it_closes() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    old, new = Link("a"), Link("a")
    known.offer(old, 1, POOL, tools("x"))
    known.offer(new, 1, POOL, tools("x"))
    known.leave(old)
    found = known.find(POOL, "x")
    assert found is not None
    assert found.provider is new


def test_a_client_and_a_pool_may_have_so_many_tools() -> None:
    known: Catalogue[Link] = Catalogue(Limits(max_tools_per_client=2, max_client_tools_per_pool=3))
    one, other = Link("a"), Link("b")
    known.offer(one, 1, POOL, tools("x", "y"))
    with pytest.raises(ToolQuota) as caught:
        known.offer(one, 2, POOL, tools("z"))
    assert caught.value.details == {"limit": "maxToolsPerClient", "tools": "2"}
    known.offer(other, 1, SESSION, tools("z"))
    with pytest.raises(ToolQuota) as caught:
        known.offer(other, 2, POOL, tools("w"))
    assert caught.value.details == {"limit": "maxClientToolsPerPool", "tools": "3"}
    known.leave(one)
    known.offer(other, 2, POOL, tools("w"))


def test_a_description_that_is_a_book_is_refused() -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    with pytest.raises(InvalidArguments, match="the most is 65536"):
        known.offer(Link("a"), 1, POOL, [common_pb2.Tool(name="x", description="x" * 70_000)])


OFFER = st.tuples(
    st.sampled_from(["offer", "offer", "withdraw", "leave"]),
    st.integers(0, 3),
    st.integers(1, 2),
    st.sampled_from([POOL, SESSION]),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=3),
)


@given(st.lists(OFFER, max_size=30))
def test_whatever_comes_in_whatever_order_each_name_has_one_owner_and_batches_are_whole(
    steps: list[tuple[str, int, int, Scope, list[str]]],
) -> None:
    known: Catalogue[Link] = Catalogue(Limits())
    links = [Link("a"), Link("a"), Link("b"), Link("c")]
    held: dict[tuple[int, int], tuple[Scope, set[str]]] = {}
    for action, who, number, scope, batch in steps:
        if action == "offer":
            for each in [key for key in held if key[0] != who and links[key[0]].client == links[who].client]:
                del held[each]
            try:
                known.offer(links[who], number, scope, tools(*batch))
                held[who, number] = (scope, set(batch))
            except InvalidArguments:
                pass
        elif action == "withdraw":
            known.withdraw(links[who], number)
            held.pop((who, number), None)
        else:
            known.leave(links[who])
            held = {key: each for key, each in held.items() if key[0] != who}
        for scope in (POOL, SESSION):
            expected = sorted(name for offered, group in held.values() if offered == scope for name in group)
            assert names(known, scope) == expected
            assert len(expected) == len(set(expected))
