"""The small parts of the loop: queue, lease, events."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import msgspec
import pytest

from snakepit._telemetry.metrics.instruments import Counter
from snakepit._telemetry.metrics.operator import RECONCILES
from snakepit.spec import SnakePoolStatus
from snakepit_operator.autoscale import Recommendation
from snakepit_operator.controller import RECONCILE_SECONDS, RELIST_PAUSES, RELIST_SECONDS, Controller
from snakepit_operator.events import events_of
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import POOLS, Kube, Object, Resource
from snakepit_operator.leases import LEASE_SECONDS, look
from snakepit_operator.model import Creation, Deletion, Observed, Outcome, Plan
from snakepit_operator.pods import AgentImage
from snakepit_operator.queue import DueQueue
from snakepit_operator.reconcile import Reconciler, Seen
from snakepit_operator.settings import Settings
from snakepit_operator.status import status
from snakepit_operator.telemetry import Telemetry
from snakepit_operator.wake import OnWake
from support import virtual_time
from support.operator_world import START, capsule, fleet, pod, pool
from support.pretend_api import PretendApi


def taken(*wanted: tuple[str, float], takers: int = 1, lasts: float = 0.0) -> list[tuple[str, float]]:
    """What is taken of a queue in a minute, and after how many seconds, where each look lasts so long."""
    found: list[tuple[str, float]] = []

    async def program() -> None:
        queue, loop = DueQueue(), asyncio.get_running_loop()
        begun = loop.time()

        async def take() -> None:
            while True:
                name = await queue.take()
                found.append((name, round(loop.time() - begun, 6)))
                await asyncio.sleep(lasts)
                queue.done(name)

        tasks = [asyncio.create_task(take()) for _ in range(takers)]
        await asyncio.sleep(0)
        for name, after in wanted:
            queue.add(name, after)
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_time.run(program())
    return found


class TestQueue:
    def test_a_name_is_taken_once_and_as_early_as_anybody_wants(self) -> None:
        assert taken(("a", 30.0), ("a", 10.0), ("a", 20.0), takers=2) == [("a", 10.0)]

    def test_each_is_taken_when_it_is_due_by_whoever_is_free(self) -> None:
        assert taken(("late", 5.0), ("early", 1.0), ("now", 0.0), takers=2) == [("now", 0.0), ("early", 1.0), ("late", 5.0)]

    def test_the_longest_due_comes_first_when_there_are_too_few_to_take_them(self) -> None:
        assert taken(("long", 0.0), ("late", 2.0), ("early", 1.0), lasts=5.0) == [("long", 0.0), ("early", 5.0), ("late", 10.0)]

    def test_several_are_looked_at_at_a_time(self) -> None:
        assert taken(("a", 1.0), ("b", 1.0), ("c", 1.0), takers=2, lasts=5.0) == [("a", 1.0), ("b", 1.0), ("c", 6.0)]

    def test_one_pool_is_never_looked_at_twice_at_a_time(self) -> None:
        async def program() -> list[str]:
            queue = DueQueue()
            queue.add("a")
            assert await queue.take() == "a"
            queue.add("a")
            second = asyncio.create_task(queue.take())
            await asyncio.sleep(1)
            was_taken = second.done()
            queue.done("a")
            return [f"{was_taken}", await second]

        assert virtual_time.run(program()) == ["False", "a"]

    def test_who_is_due_and_not_looked_at_waits(self) -> None:
        async def program() -> list[int]:
            queue = DueQueue()
            for name, after in (("a", 0.0), ("b", 0.0), ("late", 5.0)):
                queue.add(name, after)
            counts = [queue.waiting]
            taken = await queue.take()
            counts.append(queue.waiting)
            queue.add(taken)
            counts.append(queue.waiting)
            await asyncio.sleep(6)
            queue.done(taken)
            return [*counts, queue.waiting]

        assert virtual_time.run(program()) == [2, 1, 1, 3]


class Listed(PretendApi):
    """`at`: when its pools were listed."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0.0
        self.at: list[float] = []

    async def list(self, resource: Resource, namespace: str | None, selector: str = "", fields: str = "") -> list[Object]:
        if resource is POOLS:
            self.at.append(round(asyncio.get_running_loop().time() - self.begun, 3))
        return await super().list(resource, namespace, selector, fields)


class TestList:
    def listed(self, *anew: float) -> list[float]:
        """When everything is listed where watches begin anew at those moments."""
        api = Listed()

        async def watching(_namespaces: tuple[str, ...], on_wake: OnWake, _until: Callable[[], Awaitable[None]]) -> None:
            for moment in anew:
                await asyncio.sleep(api.begun + moment - asyncio.get_running_loop().time())
                on_wake("", "")
            await asyncio.get_running_loop().create_future()

        async def nobody(_target: str) -> dict[str, str]:
            return {}

        async def program() -> None:
            api.begun = asyncio.get_running_loop().time()
            settings = Settings(namespace="system", identity="me", agent=AgentImage(image="agent:1"))
            make = partial(Fleet, "nowhere:1", look_up=nobody)
            operator = Controller(cast(Kube, api), settings, fleet=lambda tell, short: make(tell, is_short=short), watching=watching)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(29):
                    await operator.run()

        virtual_time.run(program())
        return api.at

    def test_watches_that_come_back_one_after_another_are_followed_by_one_list(self) -> None:
        assert self.listed() == []
        assert self.listed(1.0) == [2.0]
        assert self.listed(1.0, 1.5, 2.3, 2.9) == [4.0]
        assert self.listed(1.0, 10.0) == [2.0, 11.0]

    def test_watches_that_never_cease_to_come_back_are_no_reason_to_wait_for_long(self) -> None:
        found = self.listed(*(1.0 + number / 4 for number in range(60)))
        assert found[0] == 1.0 + RELIST_PAUSES * RELIST_SECONDS
        assert len(found) == 4


class Hanging(PretendApi):
    """Nobody hears any more of a pool."""

    async def get(self, *_: object, **__: object) -> Object:
        return await asyncio.get_running_loop().create_future()


class TestCounts:
    @pytest.mark.parametrize(("seconds", "errors"), [(5, 0), (RECONCILE_SECONDS + 5, 1)])
    def test_a_look_that_ends_as_somebody_else_leads_now_is_no_error_and_one_that_takes_too_long_is(
        self, seconds: float, errors: int
    ) -> None:
        telemetry = Telemetry()

        async def watching(_namespaces: tuple[str, ...], on_wake: OnWake, _until: Callable[[], Awaitable[None]]) -> None:
            on_wake("default/digits", "")
            await asyncio.get_running_loop().create_future()

        async def nobody(_target: str) -> dict[str, str]:
            return {}

        async def program() -> None:
            settings = Settings(namespace="system", identity="me", agent=AgentImage(image="agent:1"))
            make = partial(Fleet, "nowhere:1", look_up=nobody)
            api = cast(Kube, Hanging())
            operator = Controller(
                api, settings, fleet=lambda tell, short: make(tell, is_short=short), watching=watching, telemetry=telemetry
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await operator.run()

        virtual_time.run(program())
        (counted,) = [each for each in telemetry.registry.instruments if each.row is RECONCILES]
        assert cast(Counter, counted).value("error") == errors


class TestLease:
    def lease(self, holder: str, renewed: str) -> dict[str, object]:
        return {"spec": {"holderIdentity": holder, "renewTime": renewed}}

    def test_it_expires_when_it_has_not_changed_for_its_duration_here(self) -> None:
        first = look(self.lease("other", "t1"), None, 100.0)
        again = look(self.lease("other", "t1"), first, 110.0)
        assert not again.expired(100.0 + LEASE_SECONDS)
        assert again.expired(100.1 + LEASE_SECONDS)

    def test_a_renewal_starts_its_time_anew_whatever_the_other_clock_says(self) -> None:
        first = look(self.lease("other", "1970-01-01T00:00:00Z"), None, 100.0)
        renewed = look(self.lease("other", "1970-01-01T00:00:02Z"), first, 114.0)
        assert not renewed.expired(120.0)

    def test_one_that_was_given_up_is_free_at_once(self) -> None:
        assert look(self.lease("", "t1"), None, 100.0).expired(100.0)


class TestEvents:
    def statuses(self) -> tuple[SnakePoolStatus, SnakePoolStatus]:
        of, one = pool(replicas=1), pod(0)
        good = status(of, Observed((one,), fleet(capsule(one), ready_workers=1)), Plan(), START)
        stuck = pod(0, reason="ImagePullBackOff", message="no such image")
        return good, status(of, Observed((stuck,), fleet()), Plan(), START)

    def test_settings_that_a_replica_can_not_take_are_a_warning_and_those_that_it_has_not_yet_are_none(self) -> None:
        good, _ = self.statuses()
        for seen, warned in ((fleet(behind=1), False), (fleet(behind=1, refused="call.new: unknown"), True)):
            after = status(pool(suspended=True), Observed((), seen), Plan(), START)
            told = {each.reason: each.type for each in events_of(good, after, Outcome())}
            assert told["SettingsRefused" if warned else "SettingsPending"] == ("Warning" if warned else "Normal")

    def test_nothing_changed_is_no_event(self) -> None:
        good, _ = self.statuses()
        assert events_of(good, good, Outcome()) == []

    def test_sessions_that_fill_up_are_a_warning_for_each_mark_and_the_way_back_is_none(self) -> None:
        def full(mark: int) -> SnakePoolStatus:
            view = fleet(capsule(pod(0)), ready_workers=1, total_slots=1, sessions_mark=mark)
            return status(pool(replicas=1), Observed((pod(0),), view), Plan(), START + 60)

        marks = [0, 80, 80, 100, 80, 0]
        told = [events_of(full(before), full(after), Outcome()) for before, after in itertools.pairwise(marks)]
        reasons = [[(each.type, each.reason) for each in some] for some in told]
        near, all_ = ("Warning", "SessionsNearlyFull"), ("Warning", "SessionsFull")
        assert reasons == [[near], [], [all_], [near], [("Normal", "StoreReady")]]

    def test_the_first_look_at_a_healthy_pool_is_no_warning(self) -> None:
        good, _ = self.statuses()
        assert all(each.type == "Normal" for each in events_of(None, good, Outcome()))

    def test_trouble_is_a_warning_and_its_end_is_normal(self) -> None:
        good, bad = self.statuses()
        trouble = {(each.type, each.reason) for each in events_of(good, bad, Outcome())}
        assert ("Warning", "ImagePullBackOff") in trouble
        assert ("Normal", "AsExpected") in {(each.type, each.reason) for each in events_of(bad, good, Outcome())}

    def test_one_trouble_is_told_once(self) -> None:
        good, bad = self.statuses()
        assert [each.reason for each in events_of(good, bad, Outcome())].count("ImagePullBackOff") == 1

    @pytest.mark.parametrize("spec", [{"replicas": 1}, {"suspended": True}, {"replicas": 0}], ids=["starting", "suspended", "zero"])
    def test_what_is_as_wished_is_no_warning(self, spec: dict[str, object]) -> None:
        found = status(pool(**spec), Observed((), fleet()), Plan(), START)
        assert {each.type for each in events_of(None, found, Outcome())} <= {"Normal"}

    def test_another_message_alone_is_no_event(self) -> None:
        _, bad = self.statuses()
        conditions = tuple(msgspec.structs.replace(each, message="otherwise") for each in bad.conditions)
        assert events_of(bad, msgspec.structs.replace(bad, conditions=conditions), Outcome()) == []

    def test_many_pods_are_one_event(self) -> None:
        good, _ = self.statuses()
        done = Outcome(
            tuple(Creation(f"digits-{number:02}-x", number, "t") for number in range(50)),
            (Deletion("digits-a", "u", "ScalingDown"),),
        )
        created, deleted = events_of(good, good, done)
        assert created.message.endswith("and 45 more")
        assert (deleted.type, deleted.message) == ("Normal", "Deleting digits-a (ScalingDown)")

    @pytest.mark.parametrize("reason", ["CapsuleLost", "PodFailed", "PodStuck"])
    def test_a_capsule_that_nobody_wished_away_is_a_warning_with_the_pods_own_words(self, reason: str) -> None:
        good, _ = self.statuses()
        done = Outcome((), (Deletion("digits-a", "u", reason, "Evicted: The node was low on resource: memory."),))
        (told,) = events_of(good, good, done)
        assert told.type == "Warning"
        assert told.message == f"Deleting digits-a ({reason}): Evicted: The node was low on resource: memory."

    def test_a_pool_that_can_not_grow_as_it_should_is_a_warning_from_the_first_look(self) -> None:
        one = pod(0)
        of = pool(replicas=1, autoscaling={"maxReplicas": 1})
        advice = Recommendation(1, "1 capsule, which is 9", is_limited=True)
        found = status(of, Observed((one,), fleet(capsule(one), ready_workers=1)), Plan(), START, advice=advice)
        assert ("Warning", "ScalingLimited") in {(each.type, each.reason) for each in events_of(None, found, Outcome())}
        assert events_of(found, found, Outcome()) == []


@pytest.mark.parametrize("count", [1, 2])
def test_a_message_counts_properly(count: int) -> None:
    pods = [pod(number) for number in range(count)]
    seen = fleet(*(capsule(each) for each in pods), ready_workers=count, total_slots=count)
    found = status(pool(replicas=count), Observed(tuple(pods), seen), Plan(), START).conditions[0].message
    assert found.startswith(f"{count} worker{'s' if count > 1 else ''} ready")


class TestResync:
    def reconciler(self, api: PretendApi) -> Reconciler:
        agent = AgentImage(image="agent:1", control_plane="127.0.0.1:1")
        settings = Settings(namespace="system", identity="me", agent=agent)
        return Reconciler(cast(Kube, api), settings, Fleet("127.0.0.1:1", lambda pool, essential: None))

    def raw(self, name: str, generation: int = 1) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": generation}
        return {"metadata": metadata, "spec": {"image": "i", "worker": {"adapter": "digits.tools:Digits"}}}

    def listed(self, *names: str) -> dict[str, dict[str, Any]]:
        return {f"default/{each}": self.raw(each) for each in names}

    def test_the_control_plane_is_told_of_all_pools_by_the_first_list(self) -> None:
        made = self.reconciler(PretendApi())
        going = self.raw("going")
        going["metadata"]["deletionTimestamp"] = "2026-11-28T00:00:00Z"
        others = {**self.raw("others"), "status": {"release": "other/snakepit-operator"}}
        ours = {**self.raw("ours"), "status": {"release": "system/snakepit-operator"}}
        found = self.listed("new") | {"default/going": going, "default/others": others, "default/ours": ours}
        made.listed(found, {}, Seen())
        assert made.fleet.pools == {"default/new", "default/ours"}

    async def test_a_pool_that_a_list_misses_is_forgotten_unless_it_was_looked_at_since_the_list_was_begun(self) -> None:
        """A new pool would be taken back at the replicas, with its capsules, until the next look."""
        api = PretendApi(*(self.raw(name) for name in ("stays", "gone", "remade", "made")))
        made = self.reconciler(api)
        made.listed(self.listed("stays", "gone", "remade"), {}, Seen())
        for name in ("stays", "gone", "remade"):
            await made.reconcile(f"default/{name}", START)
        before = made.seen()
        for name in ("remade", "made"):
            await made.reconcile(f"default/{name}", START)
        made.listed(self.listed("stays"), {}, before)
        assert made.fleet.pools == made.memories.keys() == {"default/stays", "default/remade", "default/made"}
        made.listed(self.listed("stays"), {}, made.seen())
        assert made.fleet.pools == made.memories.keys() == {"default/stays"}
