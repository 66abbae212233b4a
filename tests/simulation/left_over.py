"""What a run has left behind when everybody has been answered and all is well: there must be nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from snakepit_control_plane.servers.agent_link import AgentPeer
from snakepit_control_plane.servers.client_link import ClientPeer

if TYPE_CHECKING:
    from simulation.capsule import SimulatedCapsule
    from simulation.replica import Replica
    from simulation.world import World

    from snakepit_agent.agent import Agent


def left_over(world: World) -> list[str]:
    """In words."""
    if world.network.bulk_lanes:
        return [f"bulk lanes: {len(world.network.bulk_lanes)}"]
    found = [f"replica {host.name}: {what}" for host in world.hosts if host.replica for what in _of_replica(host.replica)]
    found += [f"replica {host.name}: {what}" for host in world.hosts if host.replica for what in _of_offers(world, host.replica)]
    found += [what for offerer in world.offerers for what in offerer.left_over()]
    return found + [f"capsule {capsule.name}: {what}" for capsule in world.capsules for what in _of_capsule(capsule, len(world.hosts))]


def _of_replica(replica: Replica) -> Iterator[str]:
    flow = replica.flow
    things = {
        "open calls": flow.calls.count,
        "deadlines": len(flow.calls.deadlines.wheel),
        "recalls": len(flow.recalls.watched),
        "questions to agents": len(replica.sessions.releases.asked),
        "idempotency keys": len(replica.idempotency.upkeep.entries),
        "doubtful claims": len(replica.idempotency.upkeep.doubtful),
        "transfers": len(flow.transfers),
        "answers on their way": not flow.calls.is_idle,
        "nested calls": sum(len(peer.asking) for peer in _agents(replica)),
        "calls of clients' tools": len(flow.nested.client_calls),
    }
    yield from (f"{count} {what}" for what, count in things.items() if count)
    for pool in flow.pools.values():
        if pool.queue.depth or pool.queue.joined or any(pool.queue.pinned.values()):
            yield f"{pool.queue.depth} calls in the queue, {pool.queue.joined} joined"
        if len(pool.callers):
            yield f"{len(pool.callers)} callers are counted"
        for capsule in pool.capsules.values():
            if capsule.inflight or capsule.trailing:
                yield f"calls in flight to {capsule.name}: {[call.call_id for call in capsule.inflight.values()]}"
        for worker in pool.workers.values():
            if worker.own or worker.elsewhere:
                yield f"{worker.id} counts {worker.own} own calls, {worker.elsewhere} elsewhere"
    for entry in replica.sessions.entries.values():
        if entry.active or entry.waiting or entry.busy:
            yield f"session {entry.id}: {entry.active} active, {len(entry.waiting)} waiting, busy {entry.busy}"


def _of_offers(world: World, replica: Replica) -> Iterator[str]:
    yield from (f"{what} is on offer" for what, _ in world.offerings.stale(replica))
    yield from (f"{what} is not on offer" for what in world.offerings.missing(replica))
    running = [peer.provider.calls for peer in replica.links.links.values() if isinstance(peer, ClientPeer)]
    if any(running):
        yield f"calls of clients' tools {running}"


def _agents(replica: Replica) -> list[AgentPeer]:
    return [peer for peer in replica.links.links.values() if isinstance(peer, AgentPeer)]


def _of_capsule(capsule: SimulatedCapsule, replicas: int) -> Iterator[str]:
    agent = capsule.agent
    if agent is None:
        yield "no agent"
        return
    if agent.ledger.calls:
        yield f"calls {[call.call_id for call in agent.ledger.calls.values()]}"
    if any(worker.held or worker.unanswered for worker in agent.ledger.workers.values()):
        yield f"slots {[(worker.held, worker.unanswered) for worker in agent.ledger.workers.values()]}"
    if len(agent.pipeline.sessions.turns) or agent.pipeline.sessions.turns.sessions:
        yield f"sessions {agent.pipeline.sessions.turns.sessions}"
    if agent.pipeline.state.waiting:
        yield "state operations"
    yield from _of_large(agent)
    for process in capsule.processes:
        if process.running or process.inbox or process.streams or process.called or process.arguments or any(process.handed.values()):
            yield f"worker {process.incarnation} runs {[run.token for run in process.running.values()]}"
    if not agent.is_ready:
        yield "no ready worker"
    if len(agent.uplink.linked) < replicas:
        yield "a replica is not linked"


def _of_large(agent: Agent) -> Iterator[str]:
    """What goes beside the links, and what tools have asked for."""
    arguments, budget = agent.pipeline.execution.arguments, agent.pipeline.budget
    if agent.pipeline.nested.waiting or agent.pipeline.nested.numbers:
        yield f"nested calls {agent.pipeline.nested.waiting}"
    if arguments.fetches or arguments.sizes:
        yield f"large arguments {arguments.fetches} {arguments.sizes}"
    if budget.used or budget.trailing:
        yield f"memory budget: {budget.used} used, {budget.trailing} trailing"
    if agent.pipeline.streams.open:
        yield f"streams {[stream.call.call_id for stream in agent.pipeline.streams.open.values()]}"
