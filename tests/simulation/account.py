"""What must hold whatever happens: every attempt has one outcome and the outcome is true, no tool runs more often than it may, sessions
keep their order and their epochs, slots hold. Each violation is an AssertionError at the moment at which it comes about."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from snakepit.local.frames import CallFrame
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.router.answers import MOST_RERUNS
from snakepit_control_plane.store.interface import SessionRecord
from snakepit_control_plane.store.memory import MemoryStore

if TYPE_CHECKING:
    from simulation.workers import Machine, Process

LATE_SECONDS = 2.0
"""How long after its deadline an attempt may be answered: the router's patience, and the slowest links."""

QUICK_SECONDS = 0.006
"""A tool that has never been quicker is not sent ahead of a free slot."""


@dataclass(eq=False)
class Attempt:
    """A call that a caller has made. `way`: the link it took, on which the order of a session's calls is kept."""

    number: int
    call_id: str
    tool: str
    way: str
    session: str
    key: str
    made: float
    due: float
    outcome: str = ""
    """The reason of an error, or what the payload is."""
    started: int = 0
    ended: float = 0.0
    cut_off: bool = False
    cancelled: bool = False


@dataclass(eq=False)
class Run:
    """One execution of a tool."""

    attempt: Attempt
    machine: Machine
    token: bytes
    tool: str
    agent: str
    incarnation: str
    uid: str
    epoch: int
    began: float
    ended: float = 0.0
    stopped: bool = False
    """It was told to stop."""


@dataclass
class Account:
    """`ordered`: sessions run one call at a time."""

    ordered: bool = True
    attempts: dict[str, Attempt] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    running: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    answers: Counter[str] = field(default_factory=Counter)
    dead_agents: set[str] = field(default_factory=set)
    epochs: dict[str, int] = field(default_factory=dict)
    stored_epochs: dict[str, int] = field(default_factory=dict)
    arrived: dict[tuple[str, str], int] = field(default_factory=dict)
    arrived_last: dict[tuple[str, str, int], int] = field(default_factory=dict)
    begun_last: dict[tuple[str, str], int] = field(default_factory=dict)
    fastest: dict[tuple[Machine, str], float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    trace: list[tuple[float, str]] = field(default_factory=list)
    store: MemoryStore | None = None
    is_heard: Callable[[str], bool] = lambda _agent: False
    """Does a replica hear that agent?"""

    def __post_init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._arrivals = 0

    def note(self, what: str) -> None:
        self.trace.append((self._now(), what))

    def _expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.note(f"VIOLATION: {otherwise}")
            self.problems.append(otherwise)

    # ---- callers

    def attempt(self, tool: str, way: str, timeout: float, session: str, key: str) -> Attempt:
        number, now = len(self.attempts) + 1, self._now()
        attempt = Attempt(number, f"call-{number}", tool, way, session, key, now, now + timeout)
        self.attempts[attempt.call_id] = attempt
        self.note(f"{attempt.call_id} {tool} session={session} key={key} timeout={timeout:.2f}")
        return attempt

    def answered(self, attempt: Attempt | None, result: link_pb2.Result) -> None:
        self.answers[result.call_id] += 1
        if attempt is None:
            self._expect(False, f"{result.call_id} was answered twice")
            return
        kind = result.WhichOneof("outcome")
        attempt.ended = self._now()
        attempt.started = result.error.started if kind == "error" else common_pb2.STARTED_YES
        attempt.outcome = _outcome(result)
        self.note(f"{attempt.call_id} -> {attempt.outcome} {attempt.started} {result.error.message}")
        late = attempt.ended - attempt.due
        self._expect(late <= LATE_SECONDS, f"{attempt.call_id} was answered {late:.2f} s late")
        self._check_truth(attempt, result)

    def _check_truth(self, attempt: Attempt, result: link_pb2.Result) -> None:
        runs, kind = self._runs_of(attempt), result.WhichOneof("outcome")
        if kind == "payload":
            ran = any(run.token.decode() == attempt.outcome and run.ended for run in runs)
            self._expect(ran, f"{attempt.call_id} has a result of no run")
        elif kind == "tool_error":
            self._expect(runs, f"{attempt.call_id} has failed without a run")
        elif attempt.outcome == "WORKER_LOST" and result.error.details["how"].startswith("signal"):
            self._expect(runs, f"{attempt.call_id} is lost with its worker, which had not begun it")
        elif attempt.started == common_pb2.STARTED_NO and not attempt.key:
            self._expect(not runs, f"{attempt.call_id} has not started, it says ({attempt.outcome}), but it has")

    def cut_off(self, attempt: Attempt) -> None:
        """Its link broke: its caller knows nothing of it."""
        attempt.cut_off, attempt.ended = True, self._now()
        self.note(f"{attempt.call_id} is cut off")

    def _runs_of(self, attempt: Attempt) -> list[Run]:
        return self.runs[attempt.key or attempt.call_id]

    # ---- workers

    def heard(self, agent: str, call: link_pb2.Call) -> None:
        """An agent was sent a call, perhaps not for the first time."""
        self._arrivals += 1
        self.arrived[agent, call.call_id] = self._arrivals

    def delivered(self, process: Process, call: CallFrame) -> None:
        """A call is put into an inbox."""
        there = len(process.inbox) + len(process.running)
        fastest = self.fastest.get((process.machine, call.tool), QUICK_SECONDS)
        ahead = fastest < QUICK_SECONDS or call.session_id
        self._expect(there < process.slots or ahead, f"a {call.tool} call was sent to a worker without a free slot")

    def begun(self, process: Process, call: CallFrame) -> Run:
        attempt = self.attempts[call.call_id]
        runs = self._runs_of(attempt)
        token = f"{call.call_id}/{len(runs)}".encode()
        run = Run(
            attempt,
            process.machine,
            token,
            call.tool,
            process.machine.agent(),
            process.incarnation,
            call.session_uid,
            call.session_epoch,
            self._now(),
        )
        self.note(f"{call.call_id} begins on {process.incarnation} of {run.agent} epoch={call.session_epoch}")
        runs.append(run)
        most = 1 + MOST_RERUNS if call.tool == "twice" else 1
        self._expect(len(runs) <= most, f"{call.call_id} runs {len(runs)} times")
        self._expect(
            attempt.key or attempt.started != common_pb2.STARTED_NO or not attempt.ended or attempt.cut_off,
            f"{call.call_id} begins after its caller was told that it never would ({attempt.outcome})",
        )
        self._expect(len(process.running) < process.slots, f"{call.call_id} begins without a slot")
        if run.uid:
            self._begun_in_session(run)
        return run

    def ended(self, run: Run) -> None:
        run.ended = self._now()
        known = run.machine, run.tool
        self.fastest[known] = min(self.fastest.get(known, QUICK_SECONDS), run.ended - run.began)
        if run.uid:
            self.running[run.uid].remove(run)

    def _begun_in_session(self, run: Run) -> None:
        highest = self.epochs.get(run.uid, 0)
        stale = run.epoch < highest
        may = not self.ordered or not stale or self._is_fenced(run)
        self._expect(may, f"{run.attempt.call_id} begins under epoch {run.epoch}, {highest} has been seen")
        if self.ordered and not stale:
            for other in self.running[run.uid]:
                moved = other.epoch < run.epoch and (other.stopped or self._is_fenced(other))
                self._expect(moved, f"{other.attempt.call_id} and {run.attempt.call_id} of session {run.attempt.session} run at once")
            self._check_order(run)
        self.epochs[run.uid] = max(highest, run.epoch)
        self.running[run.uid].append(run)

    def _check_order(self, run: Run) -> None:
        """That of arrival at the agent, and on each link."""
        attempt = run.attempt
        session, arrived = (run.agent, run.uid, run.epoch), self.arrived[run.agent, attempt.call_id]
        before = self.arrived_last.get(session, 0)
        self._expect(before < arrived, f"{attempt.call_id} of session {attempt.session} begins before one that its agent got earlier")
        self.arrived_last[session] = arrived
        if attempt.key:
            return
        way = (attempt.way, run.uid)
        before = self.begun_last.get(way, 0)
        self._expect(before <= attempt.number, f"{attempt.call_id} of session {attempt.session} begins after call-{before}")
        self.begun_last[way] = max(before, attempt.number)

    def _is_fenced(self, run: Run) -> bool:
        """Its agent has been given up: nothing that it still does counts."""
        assert self.store is not None
        return run.agent in self.dead_agents or ("default/test", run.agent) in self.store._lost

    # ---- the store

    def stored(self, name: str, args: tuple[Any, ...], answer: Any, memory: MemoryStore) -> None:
        if isinstance(answer, SessionRecord):
            before = self.stored_epochs.get(answer.uid, 0)
            self._expect(before <= answer.epoch, f"the epoch of session {answer.id} went back in the store")
            if answer.epoch > before:
                self.note(f"{name}: {answer.id} epoch={answer.epoch} {answer.worker} {answer.incarnation} {answer.agent}")
            self.stored_epochs[answer.uid] = answer.epoch
        elif name == "set_state" and answer.done:
            pool, session, *_, fence = args
            there = memory._sessions[pool][session].record
            self._expect(fence == there.fence, f"a write of {fence} was taken when the session was at {there.fence}")
        elif name == "declare_lost" and answer:
            self.note(f"{args[1]} is lost")
            self._expect(not self.is_heard(args[1]), f"agent {args[1]} is declared lost, though a replica hears it")

    # ---- the end

    def unanswered(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if not attempt.ended]

    def close(self) -> None:
        """Everybody has had time."""
        for attempt in self.unanswered():
            self._expect(False, f"{attempt.call_id} ({attempt.tool}) was never answered")
        for attempt in self.attempts.values():
            never = attempt.outcome and attempt.started == common_pb2.STARTED_NO and not attempt.key
            self._expect(not never or not self._runs_of(attempt), f"{attempt.call_id} ran, though it never started ({attempt.outcome})")


def _outcome(result: link_pb2.Result) -> str:
    kind = result.WhichOneof("outcome")
    if kind == "error":
        return result.error.reason
    return result.payload.data.decode() if kind == "payload" else str(kind)
