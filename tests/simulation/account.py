"""What must hold whatever happens: every attempt has one outcome and the outcome is true, no tool runs more often than it may, sessions
keep their order and their epochs, slots hold. Each violation is an AssertionError at the moment at which it comes about."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulation.contents import content, parse
from simulation.limits import Limits
from simulation.times import LATE_SECONDS, untimely

from snakepit._ipc.frames import ToolAnswer
from snakepit._ipc.worker import CallFrame
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.calls.nested import LATE_SECONDS as LOST_SECONDS
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.policy.reruns import MOST_RERUNS
from snakepit_control_plane.store.memory import MemoryStore

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.workers import Machine

NESTED_LATE_SECONDS = LOST_SECONDS + 2.0
"""A tool is told by its agent, which waits for its replica."""

LONGEST = 1e9

TRAVEL_SECONDS = 1.0
"""A deadline travels as what is left of it: so much later may it be for the slowest links."""

POOLS = ("default/test", "default/other")

QUICK_SECONDS = 0.022
"""A tool that has never been quicker is not sent ahead of a free slot."""


@dataclass(eq=False)
class Attempt:
    """A call that a caller has made. `way`: the link it took, on which the order of a session's calls is kept.

    A tool's call (`parent`) has a name of its own here, which its arguments carry, because its id is its agent's to give.
    """

    number: int
    call_id: str
    tool: str
    way: str
    session: str
    key: str
    made: float
    due: float
    parent: Run | None = None
    large: int = 0
    """Bytes of its arguments, if they are large."""
    outcome: str = ""
    """The reason of an error, or what the payload is."""
    started: int = 0
    ended: float = 0.0
    unnoticed: float = 0.0
    """For so long after its end no replica knew of it: its caller was killed."""
    cut_off: bool = False
    cancelled: bool = False
    patient: bool = False
    """Its caller takes its time, and is told the end when it asks for it."""
    chunks: int = 0
    source: str = ""
    """The run whose chunks have come."""

    @property
    def arguments(self) -> bytes:
        name = self.key or self.call_id
        if self.parent is not None:
            return b'{"of":"%s"}' % name.encode()  # As a client's tool can take it.
        return content(name, self.large) if self.large else name.encode()


@dataclass(eq=False)
class Run:
    """One execution of a tool."""

    attempt: Attempt
    machine: Machine
    frame: CallFrame
    token: str
    tool: str
    agent: str
    incarnation: str
    uid: str
    epoch: int
    began: float
    ended: float = 0.0
    free: bool = False
    """It was made by a client's tool whose own caller had gone: it is nested in nothing."""
    stopped: bool = False
    """It was told to stop."""
    chunks: int = 0
    complete: bool = False
    """Of a stream: it has said all that it had to say."""

    def around(self) -> Iterator[Run]:
        """The runs that wait for it, the nearest first."""
        at = self.attempt.parent
        while at is not None:
            yield at
            at = at.attempt.parent


@dataclass
class Account:
    """`ordered`: sessions run one call at a time."""

    ordered: bool = True
    attempts: dict[str, Attempt] = field(default_factory=dict)
    by_id: dict[str, Attempt] = field(default_factory=dict)
    """By the id that the call has on the wire."""
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    running: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    """By session; those of none under an empty uid."""
    answers: Counter[str] = field(default_factory=Counter)
    dead_agents: set[str] = field(default_factory=set)
    lost_agents: set[str] = field(default_factory=set)
    """Declared so in the store."""
    epochs: dict[str, int] = field(default_factory=dict)
    stored_epochs: dict[str, int] = field(default_factory=dict)
    arrived: dict[tuple[str, str], int] = field(default_factory=dict)
    arrived_last: dict[tuple[str, str, int], int] = field(default_factory=dict)
    begun_last: dict[tuple[str, str], int] = field(default_factory=dict)
    fastest: dict[tuple[Machine, str], float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    trace: list[tuple[float, str]] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    steady: bool = False
    """A worker is always ready, so that no call waits for one to come."""
    is_heard: Callable[[str], bool] = lambda _agent: False
    """Does a replica hear that agent?"""
    is_awaited: Callable[[str], bool] = lambda _call_id: True
    """Does a replica wait for that call of a client's tool?"""

    def __post_init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._arrivals = 0

    def note(self, what: str) -> None:
        self.trace.append((self._now(), what))

    def violated(self, what: str) -> None:
        self._expect(False, what)

    def _expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.note(f"VIOLATION: {otherwise}")
            self.problems.append(otherwise)

    # ---- callers

    def attempt(self, tool: str, way: str, timeout: float, session: str, key: str, large: int = 0) -> Attempt:
        attempt = self._attempt("call", tool, way, timeout, session, key)
        attempt.large = large
        self.note(f"{attempt.call_id} {tool} session={session} key={key} timeout={timeout:.2f} large={large}")
        return attempt

    def nested(self, run: Run, tool: str, pool: str, timeout: float) -> Attempt:
        """A tool calls another."""
        due = run.frame.deadline or LONGEST + self._now()
        attempt = self._attempt("nested", tool, "", due - self._now(), "", "")
        attempt.parent, attempt.due = run, min(due, attempt.made + (timeout or LONGEST))
        self.note(f"{attempt.call_id} {tool} of {run.token} pool={pool} timeout={timeout:.2f}")
        return attempt

    def _attempt(self, kind: str, tool: str, way: str, timeout: float, session: str, key: str) -> Attempt:
        number, now = len(self.attempts) + 1, self._now()
        attempt = Attempt(number, f"{kind}-{number}", tool, way, session, key, now, now + timeout)
        self.attempts[attempt.call_id] = self.by_id[attempt.call_id] = attempt
        return attempt

    def answered(self, attempt: Attempt | None, result: link_pb2.Result) -> None:
        self.answers[result.call_id] += 1
        if attempt is None:
            self._expect(False, f"{result.call_id} was answered twice")
            return
        kind = result.WhichOneof("outcome")
        if kind == "error":
            error = result.error
            self.settled(attempt, kind, error.reason, error.started, error.message, error.details["how"])
        elif kind == "payload":
            self.delivered_result(attempt, result.payload.data)
        else:
            self.settled(attempt, str(kind), str(kind), common_pb2.STARTED_YES)

    def nested_answered(self, attempt: Attempt, answer: ToolAnswer) -> None:
        if answer.failure is not None:
            failure = answer.failure
            self.settled(attempt, "error", failure.reason, failure.started, failure.message, failure.details.get("how", ""))
        elif answer.payload is not None:
            self.delivered_result(attempt, answer.payload.data)
        elif answer.tool_error is not None:
            self.settled(attempt, "tool_error", "tool_error", common_pb2.STARTED_YES)
        else:
            self.settled(attempt, "end", "end", common_pb2.STARTED_YES)

    def delivered_result(self, attempt: Attempt, data: bytes) -> None:
        """All of it has come."""
        parsed = parse(data)
        self._expect(parsed is not None, f"{attempt.call_id} has a result that no run has given, or not all of it")
        self.settled(attempt, "payload", parsed[0] if parsed is not None else "", common_pb2.STARTED_YES)

    def settled(self, attempt: Attempt, kind: str, outcome: str, started: int, message: str = "", how: str = "") -> None:
        """Its one end: `kind` is payload, tool_error, error, or the end of a stream."""
        self._expect(not attempt.ended, f"{attempt.call_id} has ended twice")
        attempt.ended, attempt.started, attempt.outcome = self._now(), started, outcome
        self.note(f"{attempt.call_id} -> {outcome} {started} {message}")
        late = attempt.ended - attempt.due
        most = LATE_SECONDS if attempt.parent is None else NESTED_LATE_SECONDS
        self._expect(late <= most or attempt.patient, f"{attempt.call_id} was answered {late:.2f} s late")
        never = ("INTERNAL",) if attempt.parent is None else ("INTERNAL", "PAYLOAD_TOO_LARGE")
        self._expect(outcome not in never, f"{attempt.call_id} ended with {message}")
        self._expect(not (wrong := untimely(attempt, message, steady=self.steady)), wrong)
        self._check_truth(attempt, kind, how)

    def _check_truth(self, attempt: Attempt, kind: str, how: str) -> None:
        runs = self._runs_of(attempt)
        if kind == "payload":
            ran = any(run.token == attempt.outcome and run.ended for run in runs)
            self._expect(ran, f"{attempt.call_id} has a result of no run")
        elif kind == "end":
            ran = any(run.complete and run.chunks == attempt.chunks and attempt.source in ("", run.token) for run in runs)
            self._expect(ran, f"{attempt.call_id} is a stream of {attempt.chunks} chunks, which no run has given")
        elif kind == "tool_error":
            self._expect(runs, f"{attempt.call_id} has failed without a run")
        elif attempt.outcome == "WORKER_LOST" and how.startswith("signal"):
            self._expect(runs, f"{attempt.call_id} is lost with its worker, which had not begun it")
        elif attempt.started == common_pb2.STARTED_NO and not attempt.key:
            self._expect(not runs, f"{attempt.call_id} has not started, it says ({attempt.outcome}), but it has")

    def chunk(self, attempt: Attempt, data: bytes) -> None:
        """One of a stream's has come, whole."""
        parsed = parse(data)
        if parsed is None or attempt.ended:
            self._expect(False, f"{attempt.call_id} has a chunk that is none, or after its end")
            return
        token, index = parsed
        run = next((run for run in self._runs_of(attempt) if run.token == token), None)
        self._expect(run is not None and index < run.chunks, f"{attempt.call_id} has a chunk of no run")
        self._expect(attempt.source in ("", token), f"{attempt.call_id} has chunks of {attempt.source} and of {token}")
        self._expect(index == attempt.chunks, f"{attempt.call_id} has chunk {index} after {attempt.chunks} others")
        attempt.source, attempt.chunks = token, index + 1

    def credited(self, run: Run, over: int) -> None:
        """By the time that it is told to stop, the end of its stream may be on its way, and counts."""
        self._expect(over <= 0 or run.stopped, f"{run.token} was given credit for {over} more chunks than it has sent")

    def cut_off(self, attempt: Attempt, unnoticed: float = 0.0) -> None:
        """Its link broke, or it was given up: its caller knows nothing of it."""
        if not attempt.ended:
            attempt.cut_off, attempt.ended, attempt.unnoticed = True, self._now(), unnoticed
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
        # A large call took its slot when its arguments were asked for; quick ones may have come in between.
        ahead = fastest < QUICK_SECONDS or call.session_id or call.sections
        self._expect(there < process.slots or ahead, f"a {call.tool} call was sent to a worker without a free slot")

    def begun(self, process: Process, call: CallFrame, arguments: bytes) -> Run:
        attempt = self.by_id.get(call.call_id)
        if attempt is None:
            attempt = self.by_id[call.call_id] = self.attempts[json.loads(arguments)["of"]]
        runs = self._runs_of(attempt)
        token, agent = f"{attempt.call_id}/{len(runs)}", process.machine.agent()
        where = call.tool, agent, process.incarnation, call.session_uid, call.session_epoch
        run = Run(attempt, process.machine, call, token, *where, self._now(), free=self._is_free(attempt))
        self.note(f"{run.token} {call.tool} begins on {process.incarnation} of {run.agent} epoch={call.session_epoch}")
        runs.append(run)
        self._expect(not (wrong := self.limits.begun(run)), wrong)
        most = 1 + MOST_RERUNS if call.tool in ("twice", "stream") else 1
        self._expect(len(runs) <= most, f"{attempt.call_id} runs {len(runs)} times")
        self._expect(arguments == attempt.arguments, f"{attempt.call_id} begins with other arguments than its own, or not all of them")
        self._expect(
            attempt.key or attempt.started != common_pb2.STARTED_NO or not attempt.ended or attempt.cut_off,
            f"{attempt.call_id} begins after its caller was told that it never would ({attempt.outcome})",
        )
        self._expect(len(process.running) < process.slots, f"{attempt.call_id} begins without a slot")
        if attempt.parent is not None and attempt.parent.frame.deadline and not run.free:
            later = call.deadline - attempt.parent.frame.deadline
            longer = f"{attempt.call_id} may run {later:.2f} s longer than the call around it"
            self._expect(call.deadline and later < TRAVEL_SECONDS, longer)
        if run.uid:
            self._begun_in_session(run)
        else:
            self.running[""].append(run)
        return run

    def _is_free(self, attempt: Attempt) -> bool:
        """Its replica may have known before the caller did: the caller's end may still be on its way."""
        parent = attempt.parent
        if parent is None or parent.machine is not None:
            return False
        return parent.attempt.ended > 0 or not self.is_awaited(parent.frame.call_id)

    def ended(self, run: Run) -> None:
        run.ended = self._now()
        known = run.machine, run.tool
        self.fastest[known] = min(self.fastest.get(known, QUICK_SECONDS), run.ended - run.began)
        self.running[run.uid].remove(run)

    def _begun_in_session(self, run: Run) -> None:
        highest = self.epochs.get(run.uid, 0)
        stale = run.epoch < highest
        may = not self.ordered or not stale or self.is_fenced(run)
        self._expect(may, f"{run.attempt.call_id} begins under epoch {run.epoch}, {highest} has been seen")
        if self.ordered and not stale and not self._is_let_go(run):
            around = list(run.around())
            for other in self.running[run.uid]:
                moved = other.epoch < run.epoch and (other.stopped or self.is_fenced(other))
                together = f"{other.attempt.call_id} and {run.attempt.call_id} of session {run.uid} run at once"
                self._expect(moved or other in around or self._is_let_go(other), together)
            if run.attempt.parent is None:
                self._check_order(run)
        self.epochs[run.uid] = max(highest, run.epoch)
        self.running[run.uid].append(run)

    def _is_let_go(self, run: Run) -> bool:
        """A tool's call whose caller waits no more, or one within it: it was told to stop, or will be, even if it begins yet; the turn was
        its caller's."""
        attempts = [run.attempt, *(each.attempt for each in run.around())]
        return any(each.parent is not None and each.ended for each in attempts)

    def _check_order(self, run: Run) -> None:
        """That of arrival at the agent, and on each link."""
        attempt = run.attempt
        session, arrived = (run.agent, run.uid, run.epoch), self.arrived[run.agent, run.frame.call_id]
        before = self.arrived_last.get(session, 0)
        self._expect(before < arrived, f"{attempt.call_id} of session {attempt.session} begins before one that its agent got earlier")
        self.arrived_last[session] = arrived
        if attempt.key:
            return
        way = (attempt.way, run.uid)
        before = self.begun_last.get(way, 0)
        self._expect(before <= attempt.number, f"{attempt.call_id} of session {attempt.session} begins after call-{before}")
        self.begun_last[way] = max(before, attempt.number)

    def is_fenced(self, run: Run) -> bool:
        """Its agent has been given up: nothing that it still does counts."""
        return run.agent in self.dead_agents or run.agent in self.lost_agents

    # ---- the store

    async def stored(self, name: str, args: tuple[Any, ...], answer: Any, memory: MemoryStore) -> None:
        if isinstance(answer, SessionRecord):
            before = self.stored_epochs.get(answer.uid, 0)
            self._expect(before <= answer.epoch, f"the epoch of session {answer.id} went back in the store")
            if answer.epoch > before:
                self.note(f"{name}: {answer.id} epoch={answer.epoch} {answer.worker} {answer.incarnation} {answer.agent}")
            self.stored_epochs[answer.uid] = answer.epoch
        elif name == "set_state" and answer.done:
            pool, session, *_, fence = args
            there = await memory.get_session(pool, session)
            self._expect(fence == there.fence, f"a write of {fence} was taken when the session was at {there.fence}")
        elif name == "declare_lost" and not answer:
            self.note(f"{args[1]} is lost")
            self.lost_agents.add(args[1])
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
