"""What a store must do, as one value: `perform` gives the answer that an operation has to have, and the store as it is after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

from snakepit.spec.fields import SessionSpec
from snakepit_control_plane.model.session import Fence, SessionRecord
from snakepit_control_plane.store.claims import ClaimState, Run
from snakepit_control_plane.store.memory import KEY_BYTES, SESSION_BYTES

MOST_SESSIONS = 2
LIMITS = SessionSpec(max_keys=2, max_value_bytes=4, max_bytes=7)
TYPE = "application/json"
OWNER_BYTES = 2 * (SESSION_BYTES + 2) + KEY_BYTES + len(TYPE) + 8
"""Of the one owner there is: two sessions with a key between them, or one with all that it may have."""

Answer = object


@dataclass(frozen=True)
class Session:
    """`binding`: uid, epoch, worker. `state`: key to (version, value); `floor`: the highest version that a deleted key had."""

    uid: str
    epoch: int
    worker: str = ""
    state: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    floor: int = 0

    @property
    def record(self) -> Answer:
        return self.uid, self.epoch, self.worker

    @property
    def held(self) -> int:
        """Bytes, for its owner; it has no metadata."""
        return SESSION_BYTES + 2 + sum(KEY_BYTES + len(key) + len(TYPE) + len(value) for key, (_, value) in self.state.items())


@dataclass(frozen=True)
class Model:
    sessions: dict[str, Session] = field(default_factory=dict)
    claims: dict[str, tuple[Run, bytes | None]] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(each.held for each in self.sessions.values())

    def with_session(self, name: str, session: Session) -> Model:
        return replace(self, sessions={**self.sessions, name: session})


@dataclass(frozen=True)
class Op:
    """One operation. Which of the fields it looks at, `perform` says; `known` and `fence` come from what was answered before."""

    name: str
    session: str = ""
    key: str = ""
    value: bytes = b""
    worker: str = ""
    expected: int | None = None
    known: SessionRecord | None = None
    fence: Fence | None = None
    run: Run | None = None


def perform(model: Model, op: Op) -> tuple[Model, Answer]:
    """The one answer that is right, and what follows from the operation."""
    if op.run is not None:
        return _claim(model, op, op.run)
    if op.name == "create":
        return _create(model, op)
    if op.name == "count":
        return model, len(model.sessions)
    session = model.sessions.get(op.session)
    if op.name == "delete":
        left = {name: each for name, each in model.sessions.items() if name != op.session}
        return replace(model, sessions=left), None if session is None else session.record
    if session is None:
        return model, "SessionNotFound"
    if op.name == "get":
        return model, session.record
    if op.known is not None:
        session = _move(session, op, op.known)
        return model.with_session(op.session, session), session.record
    if op.fence is not None and op.fence != Fence(session.uid, session.epoch):
        return model, "StaleEpoch"
    changed, answer = _state(session, op)
    if changed.held > session.held and model.held + changed.held - session.held > OWNER_BYTES:
        return model, "CallerLimit"
    return model.with_session(op.session, changed), answer


def _create(model: Model, op: Op) -> tuple[Model, Answer]:
    there = model.sessions.get(op.session)
    if there is not None:
        return model, there.record
    if len(model.sessions) >= MOST_SESSIONS:
        return model, "SessionQuota"
    made = Session(op.value.decode(), 1)
    if model.held + made.held > OWNER_BYTES:
        return model, "CallerLimit"
    return model.with_session(op.session, made), made.record


def _move(session: Session, op: Op, known: SessionRecord) -> Session:
    """Bind or unbind, if the session still is as it is known."""
    if (session.uid, session.epoch, session.worker) != (known.uid, known.epoch, known.worker):
        return session
    if op.name == "bind":
        return replace(session, worker=op.worker, epoch=session.epoch + bool(session.worker))
    return replace(session, worker="", epoch=session.epoch + 1)


def _state(session: Session, op: Op) -> tuple[Session, Answer]:
    version, value = session.state.get(op.key, (0, b""))
    if op.name == "read":
        return session, (version, value) if version else None
    if op.name == "keys":
        return session, [(key, its[0], len(its[1])) for key, its in sorted(session.state.items())]
    if op.name == "drop":
        left = {key: each for key, each in session.state.items() if key != op.key}
        return replace(session, state=left, floor=max(session.floor, version)), bool(version)
    return _write(session, op, version)


def _write(session: Session, op: Op, version: int) -> tuple[Session, Answer]:
    if op.expected is not None and op.expected != version:
        return session, (False, version)
    state = {**session.state, op.key: ((version or session.floor) + 1, op.value)}
    total = sum(len(value) for _, value in state.values())
    if len(op.value) > LIMITS.max_value_bytes or len(state) > LIMITS.max_keys or total > LIMITS.max_bytes:
        return session, "StateQuota"
    return replace(session, state=state), (True, state[op.key][0])


def _claim(model: Model, op: Op, run: Run) -> tuple[Model, Answer]:
    there, outcome = model.claims.get(run.key, (None, None))
    taken = {**model.claims, run.key: (run, outcome)}
    if op.name == "claim":
        if there is None or (outcome is None and there.replica == run.replica):
            return replace(model, claims=taken), (ClaimState.OURS, b"")
        return model, (ClaimState.RUNNING, b"") if outcome is None else (ClaimState.DONE, outcome)
    if op.name == "finish":
        if there not in (None, run):
            return model, False
        return replace(model, claims={**model.claims, run.key: (run, op.value)}), True
    if there == run and outcome is None:
        return replace(model, claims={key: each for key, each in model.claims.items() if key != run.key}), None
    return model, None


def explain(model: Model, ops: Sequence[Op], answers: Sequence[Answer]) -> Iterator[Model]:
    """What the store may be like after operations that went on at once: one for each order in which these answers come about."""
    for order in permutations(range(len(ops))):
        after, fits = model, True
        for number in order:
            after, right = perform(after, ops[number])
            fits = fits and right == answers[number]
        if fits:
            yield after
