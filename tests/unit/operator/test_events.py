"""What becomes a Kubernetes Event of the fleet's counts and of long messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from snakepit.spec import SnakePoolStatus
from snakepit_operator.apply import Applier
from snakepit_operator.autoscale import Recommendation
from snakepit_operator.events import (
    BURST,
    COMBINED,
    REFILL_SECONDS,
    SIMILAR,
    SIMILAR_SECONDS,
    WORDS,
    EventBudget,
    NewEvent,
    clip,
    ended,
    event_object,
    events_of,
    recycled,
)
from snakepit_operator.kube import Kube, KubeError
from snakepit_operator.model import Creation, Deletion, Observed, Outcome, Plan, Reason
from snakepit_operator.pods import AgentImage
from snakepit_operator.status import status
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


def ends(**counts: int) -> object:
    return heard(a=counts)


def heard(**replicas: dict[str, int]) -> object:
    """What replicas that answer have counted, each since its own start."""
    return fleet(capsule(pod(0)), ended=replicas)


def test_workers_that_ended_by_themselves_are_an_event_for_each_way() -> None:
    found = list(ended(ends(crashed=1, recycled=3), ends(crashed=3, oom=1, recycled=9)))  # type: ignore[arg-type]
    assert [(each.type, each.reason, each.message.split(";")[0]) for each in found] == [
        ("Warning", "WorkersEnded", "Ended: a worker, by itself or by a signal"),
        ("Warning", "WorkersEnded", "Ended: a worker, killed for want of memory"),
    ]


@pytest.mark.parametrize(("before", "after"), [(None, ends(oom=1)), (ends(oom=4), ends(oom=4)), (ends(oom=4), ends(oom=1)), (ends(), None)])
def test_ends_of_before_a_look_or_of_before_a_replicas_start_are_no_news(before: object, after: object) -> None:
    assert list(ended(before, after)) == []  # type: ignore[arg-type]


OLD, YOUNG = {"crashed": 9, "oom": 7}, {"crashed": 1}
BOTH = heard(old=OLD, young=YOUNG)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (heard(young=YOUNG), BOTH),
        (BOTH, heard(young=YOUNG)),
        (heard(young=YOUNG), heard(old=OLD)),
        (heard(old=OLD, young={}), BOTH),
        (BOTH, heard(old={}, young=YOUNG)),
        (heard(), BOTH),
    ],
)
def test_a_replica_that_is_heard_anew_or_late_or_no_more_brings_no_news_of_workers(before: object, after: object) -> None:
    assert list(ended(before, after)) == []  # type: ignore[arg-type]


def test_a_worker_that_ends_while_the_replica_of_the_highest_counts_is_unheard_is_an_event() -> None:
    alone = heard(young={"crashed": 2})
    for before, after in ((BOTH, alone), (heard(young=YOUNG), alone), (heard(young=YOUNG), heard(old=OLD, young={"crashed": 2}))):
        (event,) = ended(before, after)  # type: ignore[arg-type]
        assert "by itself or by a signal" in event.message


def sized(desired: int | None, **spec: Any) -> SnakePoolStatus:
    of = pool(replicas=desired or 0, **spec)
    found = status(of, Observed((), fleet()), Plan(), START, advice=Recommendation(desired or 0, "2 calls/s of 1 s"))
    return msgspec.structs.replace(found, desired_replicas=desired)


@pytest.mark.parametrize(
    ("spec", "why"), [({}, "as spec.replicas and spec.suspended say"), ({"autoscaling": {"maxReplicas": 9}}, "2 calls/s of 1 s")]
)
def test_another_size_is_an_event_with_its_reason(spec: dict[str, Any], why: str) -> None:
    (event,) = [each for each in events_of(sized(2, **spec), sized(5, **spec), Outcome()) if each.reason == "Scaled"]
    assert (event.type, event.message) == ("Normal", f"From 2 to 5 capsules: {why}")
    assert not [each for each in events_of(sized(None, **spec), sized(5, **spec), Outcome()) if each.reason == "Scaled"]


def alike(count: int, first: int = 0) -> list[NewEvent]:
    return [NewEvent("Normal", "CapsulesCreated", f"Created digits-{number}") for number in range(first, first + count)]


def test_events_of_one_reason_that_go_on_and_on_share_one_that_has_the_latest_message() -> None:
    told, left = EventBudget().spend(alike(SIMILAR), START)
    assert not [each for each in told if each.combined]
    told, left = left.spend([*alike(3), *alike(2, first=SIMILAR), NewEvent("Warning", "CapsuleLost", "another reason")], START + 1)
    assert [each.combined for each in told] == [False, False, False, True, True, False], "what was said before has its own Event"
    objects = [event_object(pool(), each, datetime.fromtimestamp(START, UTC)) for each in told]
    shared = [each for each in objects if each["message"].startswith(COMBINED)]
    assert len({each["metadata"]["name"] for each in shared}) == 1
    assert [each["message"] for each in shared] == [f"{COMBINED}Created digits-10", f"{COMBINED}Created digits-11"]
    told, _ = left.spend(alike(1, first=99), START + SIMILAR_SECONDS)
    assert not told[0].combined, "ten minutes later it is news again"


def test_each_event_is_a_row_of_the_table_or_a_conditions_reason() -> None:
    done = Outcome((Creation("digits-0-x", 0, "t"),), (Deletion("digits-1-x", "u", Reason.POD_FAILED),))
    found = [*events_of(sized(2), sized(5), done), *ended(ends(), ends(oom=1)), *recycled(counts(), counts(calls=1))]  # type: ignore[arg-type]
    table = {str(reason): word.types for reason, word in WORDS.items()}
    assert {each.reason for each in found} == set(table) - {"AnotherRelease"}
    assert all(each.type in table[each.reason] for each in found)


def test_what_is_remembered_of_events_is_bounded() -> None:
    left = EventBudget()
    for second in range(5000):
        _, left = left.spend([NewEvent("Normal", f"Reason{second}", f"{second}")], START + second)
    assert len(left.told) <= BURST + SIMILAR_SECONDS / REFILL_SECONDS


async def test_that_an_event_can_t_be_made_in_a_namespace_that_is_being_deleted_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    api = PretendApi()
    for refusal, lines in ((TERMINATING, 0), (KubeError(403, "Forbidden", "no such right"), 1)):
        api.refuse_events = refusal
        await Applier(cast(Kube, api), AgentImage(image="agent:1")).tell(pool(), [NewEvent("Normal", "Test", "a word")])
        assert len(caplog.messages) == lines


def test_a_pool_has_a_budget_of_events_that_fills_up_again_with_time() -> None:
    many = [NewEvent("Normal", f"Test{number}", "a word") for number in range(BURST + 2)]
    allowed, left = EventBudget().spend(many, START)
    assert allowed == many[:BURST]
    assert left.spend(many, START)[0] == []
    allowed, left = left.spend(many, START + REFILL_SECONDS)
    assert allowed == many[:1]
    assert len(left.spend(many, START + 1000 * REFILL_SECONDS)[0]) == BURST
