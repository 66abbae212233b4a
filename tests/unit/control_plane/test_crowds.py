"""Whom a replica hangs up on where too many are one caller's, or have shown no token."""

from __future__ import annotations

import pytest

from snakepit_control_plane.policy.crowds import beyond, too_many


def named(**counts: int) -> dict[str, str]:
    """So many of each address, the oldest first, in turns."""
    return {f"{address}{number}": address for number in range(max(counts.values())) for address in counts if number < counts[address]}


@pytest.mark.parametrize(
    ("there", "most", "left"),
    [
        ({"a": 3}, 3, {"a": 3}),
        ({"a": 10}, 4, {"a": 4}),
        ({"a": 10, "b": 2}, 8, {"a": 6, "b": 2}),
        ({"a": 10, "b": 9, "c": 1}, 9, {"a": 4, "b": 4, "c": 1}),
        ({"a": 5, "b": 5, "c": 5}, 2, {}),
    ],
    ids=["few", "one address", "a crowd and a few", "two crowds", "more addresses than places"],
)
def test_those_are_hung_up_on_whose_address_has_most_and_others_stay(there: dict[str, int], most: int, left: dict[str, int]) -> None:
    strangers = named(**there)
    gone = too_many(strangers, most)
    stay = [address for peer, address in strangers.items() if peer not in gone]
    assert {address: stay.count(address) for address in set(stay)} == left


def test_the_oldest_go_first() -> None:
    assert too_many({"1": "a", "2": "a", "3": "a"}, 2) == ["1"]


def test_one_owner_has_so_many_and_its_oldest_go_whatever_others_have() -> None:
    owners = named(ada=5, bob=3, eve=2)
    assert beyond(owners, 3) == ["ada0", "ada1"]


def test_what_counts_for_nobody_is_left_alone() -> None:
    """Agents and operators: a thousand have one service account."""
    assert beyond({**dict.fromkeys(map(str, range(1000)), ""), "a": "ada", "b": "ada"}, 1) == ["a"]
