"""What became of each call, as its client knows it, and whether that agrees with what the router and the workers counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from snakepit import SnakepitError, Started, ToolError
from snakepit._retry import FLOOR, SHARE

OK, TOOL_ERROR, GONE, REPLAYED, UNSEEN = "OK", "TOOL_ERROR", "GONE", "REPLAYED", "UNSEEN"
"""GONE: the caller cancelled it, or left its stream; whether it ran is not its business any more. REPLAYED: it got the outcome of another
call with its key. UNSEEN: it was to be made by a tool that has failed, which may not have come so far."""

RUNS = {
    OK: (1, 1),
    TOOL_ERROR: (1, 1),
    GONE: (0, 1),
    REPLAYED: (0, 0),
    UNSEEN: (0, 1),
    Started.NO.name: (0, 0),
    Started.MAYBE.name: (0, 1),
    Started.UNKNOWN.name: (0, 1),
    Started.YES.name: (1, 1),
}
"""How often a tool that is not idempotent may have begun, fewest and most."""


@dataclass
class Ledger:
    """By token: how the call ended; and how often each reason was given."""

    asked: int = 0
    ends: dict[str, str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    told: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def token(self) -> str:
        self.asked += 1
        return f"call-{self.asked}"

    def end(self, token: str, how: str, reason: str = "", why: str = "") -> None:
        assert token not in self.ends, f"{token} ended twice: {self.ends[token]} and {how}"
        self.ends[token] = how
        self.reasons[reason or how] += 1
        self.told[token] = reason or how
        self.why[token] = why or how

    def failed(self, token: str, error: SnakepitError) -> None:
        if isinstance(error, ToolError):
            self.end(token, TOOL_ERROR)
        else:
            self.end(token, error.started.name, error.reason, str(error))

    def lost(self) -> list[str]:
        """The calls that a replica took with it."""
        return [token for token, reason in self.told.items() if reason == "REPLICA_LOST"]

    def problems(self, runs: Iterable[str]) -> list[str]:
        """Where the workers' word, a token for each run, and the clients' don't agree."""
        begun = Counter(runs)
        found = [f"{self.asked - len(self.ends)} calls never ended"] if self.asked != len(self.ends) else []
        for token, how in self.ends.items():
            fewest, most = RUNS[how]
            if not fewest <= begun[token] <= most:
                found.append(f"{token} ended with {how} ({self.why[token]}) and began {begun[token]} times")
        return found + [f"{token} was run and never asked for" for token in begun.keys() - self.ends.keys()]

    def router_problems(self, outcomes: Mapping[str, int], unread: int = 0) -> list[str]:
        """Where the router's counts by outcome and the clients' don't agree. What the SDK sends again the router counts again.

        `unread`: so many counts may have gone with replicas that were killed; and their callers may not have had the outcome.
        """
        ends, total = Counter(self.ends.values()), sum(outcomes.values())
        unknown = ends[GONE] + ends[UNSEEN] + unread
        told = {OK: ends[OK] + ends[REPLAYED], TOOL_ERROR: ends[TOOL_ERROR]}
        found = []
        if not len(self.ends) - ends[UNSEEN] - unread <= total <= len(self.ends) + max(FLOOR, SHARE * len(self.ends)):
            found.append(f"the router counted {total} calls, the clients {len(self.ends)}")
        wrong = [how for how in told if not told[how] - unread <= outcomes.get(how, 0) <= told[how] + unknown]
        return found + [
            f"the router counted {outcomes.get(how, 0)} {how}, the clients {told[how]}, and {unknown} that may be either" for how in wrong
        ]
