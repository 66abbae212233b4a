"""`make scale` is in nobody's daily run: that its programs can still be loaded is tried here, and how they judge an order."""

from __future__ import annotations

import importlib

import pytest

from tests.scale import __main__ as scale


@pytest.mark.parametrize("module", ["cluster", "plane", "story", "workers"])
def test_each_of_its_programs_can_be_loaded(module: str) -> None:
    assert importlib.import_module(f"tests.scale.{module}").__doc__


@pytest.mark.parametrize(("ordinals", "together", "misplaced"), [([3, 2, 1, 0], 1, 0), ([2, 3, 1, 0], 2, 0), ([1, 3, 2, 0], 1, 1)])
def test_who_goes_before_one_of_a_higher_ordinal_is_misplaced_unless_both_went_in_one_look(
    ordinals: list[int], together: int, misplaced: int
) -> None:
    assert scale.out_of_order(ordinals, together) == misplaced
