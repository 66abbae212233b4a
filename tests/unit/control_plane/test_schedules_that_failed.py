"""Schedules under which the simulation (tests/simulation) found something wrong, as short as they could be made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, cast

import pytest

from snakepit.errors import StoreUnavailable
from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.fleet.fleet import REMEMBERED_SECONDS, Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.sessions.upkeep import TOUCH_SECONDS
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.catalogue import Scope
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.model.states import SENT
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.offers import Provider
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from support import virtual_time
from support.router_world import SLOW, World
from support.simulated_agent import POOL, settings

READY = pool_pb2.WORKER_STATE_READY


class Store(MemoryStore):
    """Keeps no leases and touches no sessions while it is away, and knows no sessions while it is `broken`."""

    broken = False

    async def get_session(self, pool: str, session: str) -> SessionRecord:
        return await super().get_session(pool, session) if not self.broken else 1 / 0  # type: ignore[return-value]

    async def renew_leases(self, pool: str, seconds: Mapping[str, float]) -> list[str]:
        if self.problem:
            raise StoreUnavailable(self.problem)
        return await super().renew_leases(pool, seconds)

    async def touch_sessions(self, pool: str, sessions: Mapping[str, str]) -> list[SessionRecord | None]:
        if self.problem:
            raise StoreUnavailable(self.problem)
        return await super().touch_sessions(pool, sessions)


class Replica:
    """One replica whose agents are what the test says."""

    def __init__(self) -> None:
        self.store = Store(asyncio.get_running_loop().time)
        self.flow = Flow(Telemetry(), Limits(max_payload_bytes=1000), self.store, "replica")
        self.fleet = Fleet(self.flow, self.store)
        given = settings()
        self.pool = self.flow.pools[POOL] = Pool(given, decode_spec(given.spec), self.flow.clock())
        self.results: list[link_pb2.Result] = []
        self.calls = 0

    async def link(self, agent: str, sent: list[link_pb2.Frame], *, name: str = "c", running: tuple[int, ...] = ()) -> Capsule:
        about = link_pb2.Capsule(name=name, incarnation=agent, pool=POOL)
        capsule = await self.fleet.join(link_pb2.Hello(role=link_pb2.ROLE_AGENT, capsule=about, running=running), sent.append)
        self.fleet.offered(capsule, link_pb2.Offer(tools=[common_pb2.Tool(name="t")]))
        worker = pool_pb2.Worker(id=f"{name}/0", incarnation=f"life of {agent}", state=READY, slots=1)
        self.fleet.reported(capsule, link_pb2.Report(workers=[worker]))
        return capsule

    def submit(self, session: str = "", **fields: Any) -> Call:
        self.calls += 1
        name = f"call {self.calls}"
        frame = link_pb2.Frame(
            call=link_pb2.Call(id=self.calls, call_id=name, pool=POOL, tool="t", session_id=session, timeout_seconds=500, **fields)
        )
        return self.flow.intake.open(frame, lambda _call, answer: self.results.append(answer.result), self.flow.clock())

    async def bound_session(self, agent: str, session: str = "s") -> None:
        """Through another replica, to which that agent is linked already."""
        known, _ = await self.store.create_session(SessionRecord(POOL, session, f"uid of {session}", 0.0, 0.0, 1e6, 1), 10)
        await self.store.renew_leases(POOL, {agent: 1e6})
        await self.store.bind_session(known, "c/0", f"life of {agent}", agent)

    async def stop(self) -> None:
        await self.flow.stop()


def kinds(frames: list[link_pb2.Frame]) -> list[str | None]:
    return [frame.WhichOneof("kind") for frame in frames]


def run(program: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(program)


def test_slots_that_others_calls_have_left_while_a_link_was_broken_are_free_when_it_is_back() -> None:
    """What is 0 an agent doesn't tell a new link; the replica went on with what the old link had told, for ever."""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        load = link_pb2.Load.WorkerLoad(worker="c/0", incarnation="life of agent", elsewhere=1)
        replica.fleet.loaded_elsewhere(capsule, link_pb2.Load(workers=[load]))
        assert replica.submit().is_waiting
        replica.fleet.leave(capsule, replica.flow.agents.senders[capsule])
        again: list[link_pb2.Frame] = []
        await replica.link("agent", again)
        assert kinds(again) == ["call"]
        await replica.stop()

    run(program())


@pytest.mark.parametrize("reason", ["RELEASED", "BUSY"])
def test_the_slot_of_a_sessions_call_that_comes_back_goes_to_the_next_who_waits(reason: str) -> None:
    """It went unused until the agent's next report."""

    async def program() -> None:
        world = await World(capsules=1, workers=1, sessions=1).start()
        world.submit(SLOW, session_id="s0")
        await world.turn()
        (agent,) = world.agents
        sent = agent.to_agent.popleft()
        waits = world.submit(SLOW)
        assert waits.is_waiting
        world.flow.outcomes.rejected(agent.capsule, link_pb2.Reject(id=sent.call.id, reason=reason))
        world.flow.outcomes.give_slots_out()
        await world.turn()
        assert not waits.is_waiting
        await world.settle()
        await world.stop()

    run(program())


def test_a_call_that_an_agent_may_have_forgotten_is_not_taken_for_never_started() -> None:
    """The agent forgets a replica that was away for half a minute; its hello then doesn't list what has run, and that ran again."""

    async def program() -> None:
        for silence, expected in ((REMEMBERED_SECONDS - 1, []), (REMEMBERED_SECONDS + 1, ["WORKER_LOST"])):
            replica, sent = Replica(), []
            capsule = await replica.link("agent", sent)
            replica.submit()
            replica.fleet.leave(capsule, replica.flow.agents.senders[capsule])
            await asyncio.sleep(silence)
            again: list[link_pb2.Frame] = []
            await replica.link("agent", again)
            assert [result.error.reason for result in replica.results] == expected
            assert kinds(again) == ([] if expected else ["call"])
            await replica.stop()

    run(program())


def test_a_session_stays_with_an_agent_that_has_linked_to_another_replica_first() -> None:
    """This replica still had the agent before, under the same capsule's name, and took the new one for gone."""

    async def program() -> None:
        replica, before, elsewhere, sent = Replica(), [], [], []
        await replica.link("old", before)
        await replica.link("other", elsewhere, name="d")
        await replica.bound_session("new")
        call = replica.submit("s")
        await asyncio.sleep(1.5)
        assert not elsewhere, "the session was taken away"
        await replica.link("new", sent)
        await asyncio.sleep(1.0)
        assert kinds(sent)[-1:] == ["call"]
        assert not call.answered
        assert (await replica.store.get_session(POOL, "s")).epoch == 1
        await replica.stop()

    run(program())


def test_a_session_leaves_an_agent_whose_successor_answers() -> None:
    """Its own is gone then, whatever its lease says."""

    async def program() -> None:
        replica, sent = Replica(), []
        await replica.link("new", sent)
        await replica.bound_session("old")
        replica.submit("s")
        await asyncio.sleep(0.1)
        assert kinds(sent) == ["session_release"]
        replica.flow.sessions.releases.answered(link_pb2.SessionReleased(session_uid="uid of s", session_epoch=1, released=True))
        await asyncio.sleep(0.1)
        assert kinds(sent) == ["session_release", "call"]
        assert (await replica.store.get_session(POOL, "s")).epoch == 2
        await replica.stop()

    run(program())


def test_no_agent_is_lost_because_nobody_could_renew_its_lease_while_the_store_was_away() -> None:
    """Of two replicas the one that did not hear it asked first when the store was back."""

    async def program() -> None:
        replica = Replica()
        capsule = await replica.link("agent", [])
        watching = asyncio.create_task(replica.fleet.run())
        await asyncio.sleep(1.0)
        replica.fleet.leave(capsule, replica.flow.agents.senders[capsule])
        replica.store.problem = "it is away"
        await asyncio.sleep(30.0)
        replica.store.problem = ""
        await asyncio.sleep(3.0)
        assert await replica.store.renew_leases(POOL, {"agent": 10.0}) == [], "another replica hears it"
        await asyncio.sleep(9.0)
        assert capsule.liveness == pool_pb2.LIVENESS_SUSPECT
        await asyncio.sleep(3.0)
        assert capsule.liveness == pool_pb2.LIVENESS_LOST
        watching.cancel()
        await replica.fleet.stop()
        await replica.stop()

    run(program())


def test_a_call_that_must_wait_for_its_retiring_worker_until_the_store_is_back_lets_those_behind_it_pass() -> None:
    """Its session can't move while the store is away, and a worker that is being recycled serves strict sessions only: whenever a slot was
    free there, the replica handed it out again and again, without end."""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        for session in ("strict", "hint", "other strict"):
            await replica.bound_session("agent", session)
        first = replica.submit("strict", affinity=common_pb2.AFFINITY_STRICT_QUEUE)
        await asyncio.sleep(0.1)
        old = pool_pb2.Worker(id="c/0", incarnation="life of agent", state=READY, slots=1)
        new = pool_pb2.Worker(id="c/0", incarnation="next life", state=READY, slots=1)
        replica.fleet.reported(capsule, link_pb2.Report(workers=[new], leaving=[old]))
        replica.store.problem = "it is away"
        hint = replica.submit("hint")
        strict = replica.submit("other strict", affinity=common_pb2.AFFINITY_STRICT_QUEUE)
        await asyncio.sleep(0.1)
        replica.flow.outcomes.answered(capsule, link_pb2.Frame(result=link_pb2.Result(id=sent[0].call.id)))
        replica.flow.outcomes.give_slots_out()
        assert first.answered
        assert [frame.call.call_id for frame in sent if frame.HasField("call")] == [first.call_id, strict.call_id]
        assert hint.is_waiting
        replica.store.problem = ""
        replica.fleet.reported(capsule, link_pb2.Report(workers=[new]))
        await asyncio.sleep(0.1)
        assert sent[-1].call.call_id == hint.call_id
        assert sent[-1].call.incarnation == "next life"
        await replica.stop()

    run(program())


@pytest.mark.parametrize("waits", [False, True], ids=["a call comes then", "a call has waited"])
def test_a_session_that_another_replica_has_moved_while_the_store_was_away_from_this_one_is_not_called_where_it_was(waits: bool) -> None:
    """Its former agent, cut off with this replica and declared lost meanwhile, ran it, and its state was refused. (A node was cut off.)"""

    async def program() -> None:
        replica, sent, elsewhere = Replica(), [], []
        capsule = await replica.link("agent", sent)
        await replica.bound_session("agent")
        replica.submit("s")
        await asyncio.sleep(0.1)
        if waits:
            replica.submit("s")
        assert kinds(sent) == ["call"]
        answer = link_pb2.Frame(result=link_pb2.Result(id=sent[0].call.id))
        if not waits:
            replica.flow.outcomes.answered(capsule, answer)
        replica.store.problem = "it is away"
        await replica.link("other", elsewhere, name="d")
        known = await replica.store.get_session(POOL, "s")
        await replica.store.bind_session(known, "d/0", "life of other", "other")
        replica.store.problem = ""
        replica.store.returns += 1
        if waits:
            replica.flow.outcomes.answered(capsule, answer)
            replica.flow.outcomes.give_slots_out()
        else:
            replica.submit("s")
        await asyncio.sleep(0.1)
        assert (kinds(sent), kinds(elsewhere)) == (["call"], ["call"])
        await replica.stop()

    run(program())


def test_calls_of_known_sessions_go_on_while_the_store_is_away_for_a_second_time() -> None:
    """They were refused where nobody had called in between. (Found by reading.)"""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        await replica.bound_session("agent")
        replica.submit("s")
        await asyncio.sleep(0.1)
        replica.flow.outcomes.answered(capsule, link_pb2.Frame(result=link_pb2.Result(id=sent[0].call.id)))
        replica.store.returns += 1
        replica.store.problem = "it is away again"
        replica.submit("s")
        assert kinds(sent) == ["call", "call"]
        await replica.stop()

    run(program())


def test_sessions_that_were_used_while_the_store_was_away_live_on_from_then() -> None:
    """All were forgotten when one was called: those that nobody called again expired as if they had not been used. (Found by reading.)"""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        for session in ("s", "other"):
            await replica.bound_session("agent", session)
        upkeep = asyncio.create_task(replica.flow.sessions.upkeep.run())

        async def call(session: str) -> None:
            replica.submit(session)
            await asyncio.sleep(0.1)
            replica.flow.outcomes.answered(capsule, link_pb2.Frame(result=link_pb2.Result(id=sent.pop().call.id)))

        await call("s")
        await asyncio.sleep(TOUCH_SECONDS)
        replica.store.problem = "it is away"
        await asyncio.sleep(100)
        await call("s")
        used = replica.flow.clock()
        replica.store.problem = ""
        replica.store.returns += 1
        await call("other")
        await asyncio.sleep(2 * TOUCH_SECONDS)
        assert (await replica.store.get_session(POOL, "s")).last_used >= used - 0.2
        upkeep.cancel()
        await replica.stop()

    run(program())


def test_a_call_that_was_cancelled_while_its_agents_link_was_broken_is_cancelled_when_it_is_back() -> None:
    """Its tool ran on until its deadline, in a slot that nobody else got. (Found by reading.)"""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        call = replica.submit()
        id_ = sent[0].call.id
        replica.fleet.leave(capsule, replica.flow.agents.senders[capsule])
        replica.flow.calls.cancel(call)
        again: list[link_pb2.Frame] = []
        await replica.link("agent", again, running=(id_,))
        assert [(frame.WhichOneof("kind"), frame.cancel.id) for frame in again] == [("cancel", id_)]
        await replica.stop()

    run(program())


def test_whoever_waits_for_what_the_store_answers_is_told_of_an_error_that_nobody_foresaw() -> None:
    """They waited for their deadline, and the session for ever. (Found by reading.)"""

    async def program() -> None:
        replica, sent = Replica(), []
        await replica.link("agent", sent)
        await replica.bound_session("agent")
        replica.store.broken = True
        calls = [replica.submit("s") for _ in range(2)]
        await asyncio.sleep(0.1)
        assert all(call.answered for call in calls)
        assert {result.error.reason for result in replica.results} == {"INTERNAL"}
        assert "what is known of session 's' could not be found out: ZeroDivisionError" in replica.results[0].error.message
        replica.store.broken = False
        replica.submit("s")
        await asyncio.sleep(0.1)
        assert kinds(sent) == ["call"]
        await replica.stop()

    run(program())


def test_a_call_whose_large_arguments_dont_get_to_their_agent_is_not_sent_again_and_again_without_a_pause() -> None:
    """It was, 600 times a second, and took a slot from others each time. (Simulation, seed 3874.)"""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        large, small = replica.submit(), replica.submit()
        began = replica.flow.clock()
        while replica.flow.clock() < began + 10.0 or large.state is SENT:
            if sent and sent[-1].call.call_id == large.call_id:
                replica.flow.outcomes.rejected(capsule, link_pb2.Reject(id=sent[-1].call.id, reason="NO_ARGUMENTS"))
                replica.flow.outcomes.give_slots_out()
                load = link_pb2.Load.WorkerLoad(worker="c/0", incarnation="life of agent", elsewhere=0)
                replica.fleet.loaded_elsewhere(capsule, link_pb2.Load(workers=[load]))
            if sent[-1].call.call_id == small.call_id and not small.answered:
                replica.flow.outcomes.answered(capsule, link_pb2.Frame(result=link_pb2.Result(id=sent[-1].call.id)))
                replica.flow.outcomes.give_slots_out()
            await asyncio.sleep(0.001)
        assert small.answered
        assert 5 < sum(frame.call.call_id == large.call_id for frame in sent) < 100
        replica.flow.calls.cancel(large)
        assert large.answered
        assert replica.results[-1].error.started == common_pb2.STARTED_NO
        await replica.stop()

    run(program())


def test_a_call_whose_caller_left_before_its_large_arguments_got_to_their_agent_has_no_deadline_any_more() -> None:
    """(Simulation, seed 170.)"""

    async def program() -> None:
        replica, sent = Replica(), []
        capsule = await replica.link("agent", sent)
        call = replica.submit()
        replica.flow.calls.cancel(call)
        replica.flow.outcomes.rejected(capsule, link_pb2.Reject(id=call.frame.call.id, reason="NO_ARGUMENTS"))
        replica.flow.outcomes.give_slots_out()
        assert not replica.flow.calls.deadlines.wheel
        assert not replica.flow.calls.count
        await replica.stop()

    run(program())


def test_a_clients_tool_that_is_called_across_pools_is_not_called_in_a_session_of_the_same_name() -> None:
    """Its client ran what it offers for that session of the other pool. (Simulation, seed 230.)"""

    async def program() -> None:
        replica = Replica()
        nested, link = replica.flow.nested, cast(Any, None)
        provider = Provider(replica.flow, link, lambda: Caller("test"), Door(Gate(), Access()))
        given = settings(other := "default/other")
        replica.flow.pools[other] = Pool(given, decode_spec(given.spec), replica.flow.clock())
        for number, pool in enumerate((POOL, other)):
            nested.catalogue.offer(provider, number, Scope(pool), [common_pb2.Tool(name="told")])
        calls = [link_pb2.Call(tool="told", pool=pool) for pool in ("", other)]
        parent = replica.submit("s")
        for call in calls:
            nested.resolve(parent, call)
        assert [(call.pool, call.session_id) for call in calls] == [(POOL, "s"), (other, "")]
        replica.flow.calls.cancel(parent)
        await replica.stop()

    run(program())
