"""Links that break and come back, several replicas, and what the agent serves and refuses besides."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import snakepit_agent.main as agent_main
from snakepit._ipc.control import KeeperHello, decode_from_agent, send_control
from snakepit._ipc.sockets import recv_packet
from snakepit._names import new_id
from snakepit_agent.link.announcer import ROUGHLY
from snakepit_agent.model import slots
from support.capsules import At, capsule, frozen, spec
from support.ports import free_port
from support.replica import Replica, replica


async def come_back(control: Replica) -> None:
    """Its links break, and are opened anew."""
    await control.stop()
    await control.start(control.port)
    await control.until(lambda: len(control.hellos) > 1, "a second hello")


async def test_a_link_that_comes_back_learns_which_calls_run_and_gets_their_results() -> None:
    async with replica() as control, capsule(spec("support.stubborn:Stubborn"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 1.0})
        await control.begun(id_)
        await come_back(control)
        assert list(control.hellos[-1].running) == [id_]
        assert control.hellos[-1].capsule.incarnation == control.hellos[0].capsule.incarnation
        assert await control.value(id_) == "held"


async def test_a_result_that_was_on_its_way_when_the_link_broke_is_told_again() -> None:
    async with replica() as control, capsule(spec("support.stubborn:Stubborn"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "echo", {"value": 5})
        await control.value(id_)
        await come_back(control)
        # Whether a result arrived is not known after a break: the replica must not run the call again.
        assert list(control.hellos[-1].running) == [id_]
        await control.until(lambda: [r.id for r in control.heard("result")] == [id_, id_])


async def test_calls_that_were_not_begun_are_dropped_when_their_link_breaks() -> None:
    async with replica() as control, capsule(spec("support.stubborn:Stubborn"), control):
        (worker,) = await control.ready()
        for _ in range(10):
            await control.value(control.call(worker, "echo"))
        async with frozen(worker.pid):
            control.call(worker, "echo")
            await come_back(control)
        assert 11 not in control.hellos[-1].running


async def test_another_replica_at_the_same_address_ends_the_calls_of_the_first() -> None:
    async with replica() as control, capsule(spec("support.stubborn:Stubborn"), control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 600})
        await control.begun(id_)
        await control.stop()
        successor = Replica(new_id())
        await successor.start(control.port)
        try:
            (same,) = await successor.ready()
            assert same.incarnation == worker.incarnation
            await successor.until(
                lambda: successor.heard("load") and successor.heard("load")[-1].workers[0].elsewhere == 0, "the slot is free again"
            )
            assert await successor.value(successor.call(same, "echo", {"value": 3})) == 3
        finally:
            await successor.stop()


async def test_a_capsule_that_was_declared_lost_comes_back_as_another_one() -> None:
    quick = spec("support.stubborn:Stubborn", heartbeat={"intervalSeconds": 0.1})
    async with replica() as control, capsule(quick, control):
        (worker,) = await control.ready()
        id_ = control.call(worker, "hold", {"seconds": 600})
        await control.begun(id_)
        former = control.hellos[0].capsule.incarnation
        await control.stop()
        control.lost.add(former)
        await control.start(control.port)
        await control.until(lambda: len(control.hellos) > 1, "a hello of another incarnation")
        assert control.hellos[-1].capsule.incarnation != former
        assert not control.hellos[-1].running
        (successor,) = await control.until(lambda: [w for w in control.workers() if w.state == 2 and w.incarnation != worker.incarnation])
        assert await control.value(control.call(successor, "echo", {"value": 1})) == 1
        assert not control.heard("result")[:-1], "nothing of the former incarnation is told"


async def test_each_replica_is_told_of_slots_that_the_other_one_uses() -> None:
    async with replica() as first, replica() as second, capsule(spec("support.stubborn:Stubborn"), first, second):
        (worker,) = await first.ready()
        await second.ready()
        id_ = first.call(worker, "hold", {"seconds": 600})
        await first.begun(id_)
        taken = await second.until(lambda: second.heard("load"), "a load")
        assert [(w.worker, w.incarnation, w.elsewhere) for w in taken[-1].workers] == [(worker.id, worker.incarnation, 1)]
        assert not first.heard("load"), "its own calls it counts itself"
        rejected = second.call(worker, "echo")
        assert (await second.rejected(rejected)).reason == "NO_SLOT"
        os.kill(worker.pid, signal.SIGKILL)
        await first.result(id_)
        (successor,) = await second.until(lambda: [w for w in second.workers() if w.state == 2 and w.incarnation != worker.incarnation])
        assert await second.value(second.call(successor, "echo", {"value": 1})) == 1


async def test_the_kubelet_sees_ready_when_a_worker_is_warm() -> None:
    port = free_port()
    async with (
        replica() as control,
        capsule(spec("support.stubborn:Stubborn"), control, keeper=False, health_port=port) as local,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)

        async def status(service: str) -> int:
            request = health_pb2.HealthCheckRequest(service=service)
            return (await health.Check(request, timeout=10, wait_for_ready=True)).status

        assert await status("") == health_pb2.HealthCheckResponse.SERVING
        asked = asyncio.create_task(status("ready"))
        await local.start_keeper()
        await control.ready()
        assert await asked == health_pb2.HealthCheckResponse.SERVING, "who asks early is answered when it is so"


async def test_a_keeper_of_another_release_is_refused() -> None:
    async with replica() as control, capsule(spec("support.stubborn:Stubborn"), control, keeper=False) as local:
        await control.until(lambda: control.hellos)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as keeper:
            keeper.settimeout(10)
            await asyncio.to_thread(keeper.connect, str(local.settings.run_dir / "control.sock"))
            send_control(keeper, KeeperHello(99, 1, "9.9", "3.99"))
            packet = await asyncio.to_thread(recv_packet, keeper)
            assert packet is not None
            assert decode_from_agent(packet.data).protocol == 1
            assert await asyncio.to_thread(recv_packet, keeper) is None


async def test_a_health_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        async with capsule(spec("support.stubborn:Stubborn"), At(1), keeper=False) as local:
            settings = local.settings.__class__(**{**vars(local.settings), "health_port": taken.getsockname()[1], "run_dir": tmp_path})
            with pytest.raises(OSError, match="SNAKEPIT_HEALTH_PORT"):
                await asyncio.wait_for(agent_main.run(settings, asyncio.Event()), 10)


async def test_a_replica_hears_roughly_how_many_calls_of_others_wait_at_a_worker_and_at_once_that_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with replica() as first, replica() as second:
        for setting, seconds in (("RECALL_AFTER_SECONDS", 60.0), ("UNREAD_SECONDS", 60.0), ("AHEAD_SECONDS", 1.0)):
            monkeypatch.setattr(slots, setting, seconds)  # The frozen worker keeps what it is given.
        async with capsule(spec("support.stubborn:Stubborn", worker={"processes": 2}), first, second):
            worker, other = await first.ready(2)
            await second.ready(2)

            def told() -> list[int]:
                loads = [each for load in second.heard("load") for each in load.workers]
                return [each.elsewhere for each in loads if each.incarnation == worker.incarnation]

            for _ in range(20):
                await first.value(first.call(worker, "echo"))
            await second.value(second.call(other, "echo"))  # By then it has heard of all that was before.
            begin = len(told())
            async with frozen(worker.pid):
                waiting = []
                for _ in range(1 + 2 * ROUGHLY):
                    waiting.append(first.call(worker, "echo"))
                    await first.value(first.call(other, "echo"))  # By then the agent has taken the one before.
                await second.until(lambda: told()[-1] == 1 + 2 * ROUGHLY)
                assert told()[begin:] == [1, 1 + ROUGHLY, 1 + 2 * ROUGHLY]
            for each in waiting:
                await first.value(each)
            await second.until(lambda: told()[-1] == 0, "the word that it is free")
