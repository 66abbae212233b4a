"""The tools of simulated workers: how long they take, and how they misbehave."""

from __future__ import annotations

from snakepit._ipc.frames import ToolInfo

SECONDS = {
    "quick": (0.00003, 0.0001),
    "slow": (0.01, 0.15),
    "long": (0.3, 2.0),
    "note": (0.01, 0.1),
    "twice": (0.01, 0.3),
    "failing": (0.0, 0.02),
    "stubborn": (0.5, 4.0),
    "deadly": (0.0, 0.1),
    "bulky": (0.001, 0.05),
    "stream": (0.0, 0.05),
    "asking": (0.0, 0.05),
}
"""How long each tool runs; of `stream`, before each chunk, of `asking`, before each call. `quick` is not always, `note` writes its
session's state, `twice` is idempotent, `stubborn` does not stop when told to, `deadly` may take its worker along, `bulky` has a large
result, `asking` calls another tool."""

CLIENTS_TOOLS = ("here", "there", "telling", "quick")
"""What clients offer. The last is a name that workers have: it can be offered for a session, in which it goes before theirs."""

STREAMED = ("stream", "telling")

PLAIN = ("quick", "slow", "long", "note", "twice", "failing", "stubborn", "deadly")

KILLING = frozenset({"deadly", "stubborn"})
"""May cost their worker: they take it along, or don't stop when they are told to."""

OFFERED = [ToolInfo(name, "", "{}", streaming=name == "stream", idempotent=name in ("twice", "stream")) for name in SECONDS]

MOST_CHUNKS = 8

CREDIT = 3
"""Chunks that a simulated worker sends ahead of its consumer."""

SILENT_SECONDS = 30.0
"""Now and then a stream says nothing for so long."""
