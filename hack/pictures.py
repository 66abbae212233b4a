"""The pictures in docs/ that are drawn from the code, for hack/docs.py: tables of states as Mermaid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from places import DOCS, filled

from snakepit.spec.fields import HeartbeatSpec
from snakepit.v1 import common_pb2, pool_pb2
from snakepit_agent.model import seats
from snakepit_control_plane.fleet.liveness import Sign, judge
from snakepit_control_plane.model import states
from snakepit_control_plane.policy.affinity import AffinityRequest, BindingState, choose

Lines = Iterator[str]


def pages() -> dict[str, str]:
    """Pages as they are, each with today's pictures, by their names in docs/."""
    drawn = {
        "workers.md": {"the table of states": of_workers()},
        "architecture.md": {"the states of a call": of_calls()},
        "concepts/calls.md": {"the states of a call": of_calls()},
        "concepts/capsules.md": {"the ladder of a capsule": of_capsules(HeartbeatSpec())},
        "concepts/sessions.md": {f"a session's call, {name}": of_sessions(those) for name, those in AFFINITIES.items()},
    }
    return {name: _with(name, pictures) for name, pictures in drawn.items()}


def _with(name: str, pictures: Mapping[str, str]) -> str:
    text = (DOCS / name).read_text()
    for place, picture in pictures.items():
        text = filled(text, place, picture, of=f"docs/{name}")
    return text


def of_workers() -> str:
    events = {state: {to: event.value for event, to in row.items()} for state, row in seats.TABLE.items()}
    return _mermaid({state: state.name for state in events}, {state: state.value for state in events}, events)


def of_calls() -> str:
    events: dict[Any, dict[Any, str]] = {state: {to: event for event, to in row.items()} for state, row in states.TABLE.items()}
    names = {state: state.name.upper() for state in events}
    return _mermaid(names, {state: state.meaning for state in events}, events)


def of_capsules(heartbeat: HeartbeatSpec) -> str:
    """What silence makes of a capsule: as `judge` says, asked for each tenth of a second."""
    suspect, lost = (_silence_until(verdict, heartbeat) for verdict in (pool_pb2.LIVENESS_SUSPECT, pool_pb2.LIVENESS_LOST))
    return "\n".join(
        [
            *("```mermaid", "stateDiagram-v2", "    [*] --> Live: its agent says hello"),
            "    Live: Live<br/>gets new calls",
            "    Suspect: Suspect<br/>gets no new calls, those that it has go on",
            "    Lost: Lost<br/>its calls fail with WORKER_LOST, its sessions move",
            f"    Live --> Suspect: its link breaks, or {suspect:g} s of silence",
            "    Suspect --> Live: it is heard again",
            f"    Suspect --> Lost: {lost:g} s of silence at every replica",
            "    Lost --> [*]: a new pod takes its place",
            *("```", ""),
        ]
    )


def _silence_until(verdict: int, heartbeat: HeartbeatSpec) -> float:
    """How many seconds of silence it takes, with an open link."""
    return next(tenth / 10 for tenth in range(10_000) if judge(Sign(tenth / 10, linked=True), heartbeat) == verdict)


AFFINITIES = {
    "hint": {"hint": common_pb2.AFFINITY_HINT},
    "strict": {"strict_queue": common_pb2.AFFINITY_STRICT_QUEUE, "strict_fail_fast": common_pb2.AFFINITY_STRICT_FAIL_FAST},
}
"""A picture each: in one, the words at its arrows would lie on each other."""


def of_sessions(affinities: Mapping[str, common_pb2.Affinity]) -> str:
    """For each thing that may be so of a session's worker, what `choose` says, with each of these affinities."""
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'    {state.name}["{state.value}"]' for state in BindingState]
    chosen = {(state, name): choose(state, AffinityRequest(value)) for state in BindingState for name, value in affinities.items()}
    lines += [f'    {action.name}(["{action.value}"])' for action in dict.fromkeys(chosen.values())]
    for state in BindingState:
        for action in dict.fromkeys(chosen[state, name] for name in affinities):
            names = [name for name in affinities if chosen[state, name] is action]
            label = "" if len(names) == len(affinities) else f"|{', '.join(names)}|"
            lines.append(f"    {state.name} -->{label} {action.name}")
    return "\n".join([*lines, "```", ""])


def _mermaid(names: Mapping[Any, str], meanings: Mapping[Any, str], events: Mapping[Any, Mapping[Any, str]]) -> str:
    """The first state is where all begins."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(names.values()))}"]
    lines += [f"    {name}: {name}<br/>{_plain(meanings[state])}" for state, name in names.items()]
    lines += [f"    {names[state]} --> {names[to]}: {event}" for state, row in events.items() for to, event in row.items()]
    lines += [f"    {names[state]} --> [*]" for state, row in events.items() if not row]
    return "\n".join([*lines, "```", ""])


def _plain(text: str) -> str:
    """Mermaid ends a text at a semicolon, and may at a colon."""
    return text.replace(";", ",").replace(":", " -")
