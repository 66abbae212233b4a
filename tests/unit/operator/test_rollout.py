"""What rolls pods, and what must not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from snakepit_operator.rollout import desired, share, template_hash
from support.operator_world import pool


@pytest.mark.parametrize(
    "change",
    [
        {"image": "example/digits:2"},
        {"worker": {"processes": 2}},
        {"worker": {"startup": "spawn"}},
        {"template": {"metadata": {"labels": {"a": "b"}}}},
    ],
    ids=["image", "worker.processes", "worker.startup", "template"],
)
def test_worker_image_and_template_roll(change: dict[str, Any]) -> None:
    assert template_hash(pool(**change).spec) != template_hash(pool().spec)


@pytest.mark.parametrize(
    "change",
    [{"replicas": 9}, {"queue": {"maxSize": 5}}, {"heartbeat": {"intervalSeconds": 1}}, {"affinity": "strict_queue"}, {"suspended": True}],
    ids=["replicas", "queue", "heartbeat", "affinity", "suspended"],
)
def test_nothing_else_rolls(change: dict[str, Any]) -> None:
    assert template_hash(pool(**change).spec) == template_hash(pool().spec)


def test_a_default_spelled_out_rolls_nothing() -> None:
    assert template_hash(pool(worker={"processes": 1, "threads": 8, "profile": "process"}).spec) == template_hash(pool().spec)


def test_the_order_of_fields_rolls_nothing() -> None:
    one = pool(template={"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {}})
    other = pool(template={"spec": {}, "metadata": {"labels": {"b": "2", "a": "1"}}})
    assert template_hash(one.spec) == template_hash(other.spec)


def test_the_hash_of_today_is_the_hash_of_tomorrow() -> None:
    assert template_hash(pool().spec) == "66189110b6", "a changed hash rolls every pod of every cluster at an upgrade"


@pytest.mark.parametrize(("part", "up", "down"), [("25%", 1, 0), ("100%", 3, 3), ("0%", 0, 0), (2, 2, 2)])
def test_percentages_round_up_for_surge_and_down_for_missing(part: int | str, up: int, down: int) -> None:
    assert (share(part, 3, math.ceil), share(part, 3, math.floor)) == (up, down)


def test_desired_is_replicas_unless_suspended() -> None:
    assert desired(pool(replicas=4).spec) == 4
    assert desired(pool(replicas=4, suspended=True).spec) == 0
