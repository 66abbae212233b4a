"""A pool's numbers, as an autoscaler asks for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from snakepit.spec.fields import SnakePool
from snakepit_operator.pool_metrics import METRICS, failure, resources, values

STAMP = "2026-11-29T00:00:00Z"


def pool(name: str = "digits", **status: Any) -> SnakePool:
    document = {"metadata": {"name": name, "namespace": "default"}, "spec": {"worker": {"adapter": "a:B"}}}
    return msgspec.convert({**document, **({"status": status} if status else {})}, SnakePool)


def test_a_value_says_of_which_pool_it_is_and_when_it_was_read() -> None:
    assert values([pool(sessions=3)], "sessions", STAMP)["items"] == [
        {
            "describedObject": {"kind": "SnakePool", "apiVersion": "snakepit.dev/v1alpha1", "namespace": "default", "name": "digits"},
            "metric": {"name": "sessions", "selector": None},
            "timestamp": STAMP,
            "value": "3",
        }
    ]


@pytest.mark.parametrize(
    ("slots", "busy", "waiting", "percent"),
    [(8, 6, 1, "88"), (8, 0, 0, "0"), (8, 8, 8, "200"), (3, 1, 0, "34"), (1000, 1, 0, "1")],
)
def test_the_load_counts_what_waits_and_is_rounded_up(slots: int, busy: int, waiting: int, percent: str) -> None:
    found = values([pool(totalSlots=slots, busySlots=busy, queueDepth=waiting)], "load_percent", STAMP)
    assert [each["value"] for each in found["items"]] == [percent]


@pytest.mark.parametrize("status", [{}, {"totalSlots": 0, "busySlots": 0, "queueDepth": 4}, {"totalSlots": 4, "busySlots": 1}])
def test_a_load_that_nobody_knows_is_no_number(status: dict[str, int]) -> None:
    assert values([pool(**status)], "load_percent", STAMP)["items"] == []


def test_zero_is_a_number_and_a_pool_without_one_is_left_out() -> None:
    pools = [pool("a", recommendedReplicas=0), pool("b", replicas=1), pool("c")]
    found = values(pools, "recommended_replicas", STAMP)
    assert [(each["describedObject"]["name"], each["value"]) for each in found["items"]] == [("a", "0")]


def test_what_there_is_names_every_metric() -> None:
    assert [each["name"] for each in resources()["resources"]] == [f"snakepools.snakepit.dev/{name}" for name in METRICS]


@pytest.mark.parametrize(("code", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (404, "NotFound"), (503, "ServiceUnavailable")])
def test_a_refusal_has_the_api_servers_own_word(code: int, reason: str) -> None:
    said = failure(code, "why")
    assert (said["reason"], said["code"], said["message"]) == (reason, code, "why")
