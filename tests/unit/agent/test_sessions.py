"""Sessions in the agent, between its ledger and its replicas."""

from __future__ import annotations

from snakepit.v1 import link_pb2
from support.sessions_world import TOOL, World
from support.simulated_agent import POOL


async def test_a_replica_hears_at_once_that_its_call_waits_for_its_turn_and_takes_no_slot_and_when_that_has_changed() -> None:
    world = await World(capsules=1, workers=1, slots=2, sessions=1).start()
    (agent,) = world.agents
    ((worker, life),) = agent.lives.items()
    told = agent.to_router["one"]
    for number in (1, 2):
        fields = {"id": number, "call_id": str(number), "pool": POOL, "tool": TOOL, "worker": worker, "incarnation": life}
        of_session = {"session_id": "s0", "session_uid": "uid-s0", "session_epoch": 1, "turn": link_pb2.TURN_WAIT}
        agent.to_agent["one"].append(link_pb2.Frame(call=link_pb2.Call(**fields, **of_session)))  # type: ignore[arg-type]
        agent.receive("one")
    assert told[-1].load.workers[0].elsewhere == -1, "it counts two calls, and one of them takes no slot"
    agent.to_agent["one"].append(link_pb2.Frame(recall=link_pb2.Recall(id=2)))
    agent.receive("one")
    assert [frame.WhichOneof("kind") for frame in list(told)[-2:]] == ["load", "reject"]
    assert list(told)[-2].load.workers[0].elsewhere == 0
    await world.stop()
