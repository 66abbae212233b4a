"""What becomes a Kubernetes Event of the fleet's counts and of long messages."""

from __future__ import annotations

from typing import cast

import pytest

from snakepit_operator.apply import Applier
from snakepit_operator.events import BURST, REFILL_SECONDS, EventBudget, NewEvent, clip, recycled
from snakepit_operator.kube import Kube, KubeError
from snakepit_operator.pods import AgentImage
from support.operator_world import START, capsule, fleet, pod, pool
from support.pretend_api import TERMINATING, PretendApi


def counts(incarnation: str = "x", **recycled: int) -> object:
    return fleet(capsule(pod(0), incarnation=incarnation, recycled=recycled))


def told(before: object, after: object) -> list[str]:
    return [each.message for each in recycled(before, after)]  # type: ignore[arg-type]


def test_workers_that_were_recycled_are_one_event_for_each_reason() -> None:
    assert told(counts(calls=1), counts(calls=4, memory=1)) == [
        "Recycled: a worker that had served recycle.maxCalls calls",
        "Recycled: a worker whose own memory was above recycle.maxMemory",
    ]


def test_what_was_counted_before_is_no_news_nor_are_the_counts_of_another_agent_or_of_the_first_look() -> None:
    assert told(counts(calls=4), counts(calls=4)) == []
    assert told(counts(calls=1), counts("y", calls=4)) == []
    assert told(None, counts(calls=4)) == []


def test_a_long_traceback_keeps_its_sentence_and_its_end() -> None:
    message = "Degraded is True: no model\n" + "line\n" * 400 + "RuntimeError: no model"
    clipped = clip(message)
    assert len(clipped) <= 1024
    assert clipped.startswith("Degraded is True: no model\n... ")
    assert clipped.endswith("RuntimeError: no model")
    assert len(clip("x" * 3000)) == 1024


async def test_that_an_event_can_t_be_made_in_a_namespace_that_is_being_deleted_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    api = PretendApi()
    for refusal, lines in ((TERMINATING, 0), (KubeError(403, "Forbidden", "no such right"), 1)):
        api.refuse_events = refusal
        await Applier(cast(Kube, api), AgentImage(image="agent:1")).tell(pool(), [NewEvent("Normal", "Test", "a word")])
        assert len(caplog.messages) == lines


def test_a_pool_has_a_budget_of_events_that_fills_up_again_with_time() -> None:
    many = [NewEvent("Normal", "Test", f"{number}") for number in range(BURST + 2)]
    allowed, left = EventBudget().spend(many, START)
    assert allowed == many[:BURST]
    assert left.spend(many, START)[0] == []
    allowed, left = left.spend(many, START + REFILL_SECONDS)
    assert allowed == many[:1]
    assert len(left.spend(many, START + 1000 * REFILL_SECONDS)[0]) == BURST
