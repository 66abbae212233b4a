"""What each frame of an agent means, and whom it is for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from snakepit import _wire as links
from snakepit._tasks import Tasks
from snakepit._wire import LinkClosed
from snakepit.errors import ServerUnavailable, SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.servers.agent_bulk import serve_agent
from snakepit_control_plane.servers.asking import Asking
from snakepit_control_plane.servers.bounds import overlong
from snakepit_control_plane.servers.bulk import BulkCall
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.state import answer_state
from snakepit_control_plane.store.interface import Store


class AgentPeer:
    """An agent: its results, heartbeats and offers come in."""

    role = "agent"
    whose_lanes = ""

    def __init__(self, flow: Flow, fleet: Fleet, store: Store, capsule: Capsule, link: links.Link, door: Door) -> None:
        self._flow = flow
        self._fleet = fleet
        self._store = store
        self._capsule = capsule
        self._link = link
        self._send = flow.agents.senders[capsule]
        self.asking = Asking(flow, capsule, link, door)
        self._tasks = Tasks()

    def on_frames(self, link: links.Link, frames: Sequence[link_pb2.Frame]) -> None:
        capsule, flow = self._capsule, self._flow
        if flow.agents.senders.get(capsule) is not self._send:
            link.close("this agent was declared lost, or has linked anew")
            return
        capsule.heard_at(flow.clock())
        for frame in frames:
            kind = frame.WhichOneof("kind")
            if kind == "result":
                flow.outcomes.answered(capsule, frame)
            elif kind == "reject":
                flow.outcomes.rejected(capsule, frame.reject)
            else:
                self._other(link, kind, frame)
        flow.outcomes.give_slots_out()

    def _other(self, link: links.Link, kind: str | None, frame: link_pb2.Frame) -> None:
        if problem := overlong(kind, frame):
            link.close(problem)
        elif kind == "report":
            self._fleet.reported(self._capsule, frame.report)
        elif kind == "load":
            self._fleet.loaded_elsewhere(self._capsule, frame.load)
        elif kind == "offer":
            self._fleet.offered(self._capsule, frame.offer)
        elif kind == "session_released":
            self._flow.sessions.releases.answered(frame.session_released)
        elif kind == "log_lines_reply":
            self._flow.log_lines.answered(self._capsule, frame.log_lines_reply)
        elif kind == "state_request":
            self._tasks.spawn(self._state(frame.state_request))
        elif kind == "progress":
            self._progress(frame)
        elif not self.asking.take(kind, frame):
            link.pass_over(frame)

    def _progress(self, frame: link_pb2.Frame) -> None:
        """For callers who asked for it."""
        call = self._capsule.inflight.get(frame.progress.id)
        if call is not None and not call.answered and call.message.progress:
            frame.progress.id = call.id
            call.reply(call, frame)

    async def _state(self, request: link_pb2.StateRequest) -> None:
        reply = await answer_state(self._flow, self._store, self._capsule.pool, request)
        with contextlib.suppress(LinkClosed):
            self._link.send(link_pb2.Frame(state_reply=reply))

    async def serve_bulk(self, bulk: BulkCall) -> None:
        await serve_agent(self._flow, self._capsule, bulk)

    def with_lane(self) -> None:
        if self._capsule.problem:
            self._capsule.problem = ""
            self._fleet.changes.tell(self._capsule.pool)

    def without_lane(self, port: int) -> SnakepitError:
        """Said in the pool's status too, until it has one."""
        reach = f"can't reach port {port} of the control plane, where links have their lanes: let its pod through to it, as to gRPC's"
        self._capsule.problem = f"its agent {reach}"
        self._fleet.changes.tell(self._capsule.pool)
        return ServerUnavailable(f"capsule {self._capsule.name} {reach}")

    def finish(self) -> None:
        """An agent gets calls; it sends none of its own."""

    def closed(self) -> None:
        self.asking.closed()
        if self._flow.agents.senders.get(self._capsule) is self._send:  # Or its new link is asked now, and answers.
            self._flow.log_lines.unlinked(self._capsule)
        self._fleet.leave(self._capsule, self._send)
