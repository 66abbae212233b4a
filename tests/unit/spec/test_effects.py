"""What a change of each field does: the table is whole, and pods are rolled by what it says, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from snakepit.spec.effects import EFFECTS, Effect, effect
from snakepit.spec.fields import SnakePool, SnakePoolSpec
from snakepit_operator.model import Creation
from snakepit_operator.pods import AgentImage, agent_hash, pod
from snakepit_operator.rollout import pool_hash
from support.effects import CHANGES, changed

SPEC: dict[str, Any] = {"worker": {"adapter": "m:C"}}


def pool(spec: dict[str, Any]) -> SnakePool:
    return msgspec.convert({"metadata": {"name": "digits"}, "spec": spec}, SnakePool)


def leaves(kind: Any, path: str = "") -> Iterator[str]:
    """Every field that has no fields of its own."""
    for field in msgspec.structs.fields(kind):
        inner = next((each for each in (field.type, *getattr(field.type, "__args__", ())) if isinstance(each, type)), None)
        dotted = f"{path}{field.encode_name}"
        if inner is not None and issubclass(inner, msgspec.Struct):
            yield from leaves(inner, f"{dotted}.")
        else:
            yield dotted


def test_the_table_has_every_field_and_no_other() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(SnakePoolSpec)}
    assert {path for path in EFFECTS if "." not in path} == fields
    assert set(CHANGES) == set(leaves(SnakePoolSpec))
    assert all(any(leaf == path or leaf.startswith(f"{path}.") for leaf in CHANGES) for path in EFFECTS)


def test_a_field_that_no_pool_has_has_no_effect() -> None:
    with pytest.raises(KeyError):
        effect("quuux.size")


@pytest.mark.parametrize("path", CHANGES)
def test_pods_are_rolled_by_a_change_of_what_the_table_says_and_by_no_other(path: str) -> None:
    before, after = pool(SPEC), pool(changed(SPEC, path))
    assert before.spec != after.spec
    assert (pool_hash(before) != pool_hash(after)) is (effect(path) is Effect.ROLLS)


@pytest.mark.parametrize("path", [path for path in CHANGES if effect(path) is Effect.CAPSULES])
def test_a_capsule_is_not_outdated_by_what_reaches_it(path: str) -> None:
    agent = AgentImage(image="agent:1")
    made = pod(pool(changed(SPEC, path)), Creation("digits-0", 0, "t"), agent)
    assert made["metadata"]["annotations"]["snakepit.dev/agent-hash"] == agent_hash(agent)
