"""What a peer may say at most, looked at before anything is done with it: of a Hello, and of an agent's frames. Pure.

What one call may have is in `policy.admission`, what a message of a link may have in `snakepit._wire.lane`.
"""

from __future__ import annotations

from collections import OrderedDict

from snakepit._names import POOL_CHARACTERS
from snakepit._values.strings import ECHOED
from snakepit._wire.channels import MOST_FRAMES
from snakepit.errors import InvalidArguments
from snakepit.v1 import link_pb2, pool_pb2

NAME_CHARACTERS = 253
"""Of a pod, as Kubernetes has it; of incarnations, versions and what log lines are asked for, too."""

SPEC_BYTES = 256 * 1024
MOST_WORKERS = 10_000
"""Of one capsule."""

MOST_TOOLS = 10_000
"""Of one capsule."""

DEFAULT_LINES = 100
MOST_LINES = 1000
MOST_LINE_BYTES = 256 * 1024
"""Of one answer about log lines, in all."""

REFUSALS = 256
"""So many that were logged are remembered."""

REFUSALS_A_MINUTE = 30


def check_hello(hello: link_pb2.Hello) -> None:
    """Raises InvalidArguments."""
    about = hello.capsule
    for name, text, most in (
        ("hello.version", hello.version, NAME_CHARACTERS),
        ("hello.capsule.name", about.name, NAME_CHARACTERS),
        ("hello.capsule.incarnation", about.incarnation, NAME_CHARACTERS),
        ("hello.capsule.pod_uid", about.pod_uid, NAME_CHARACTERS),
        ("hello.capsule.node", about.node, NAME_CHARACTERS),
        ("hello.capsule.pool", about.pool, POOL_CHARACTERS),
        ("hello.capsule.settings.pool", about.settings.pool, POOL_CHARACTERS),
        ("hello.capsule.settings.uid", about.settings.uid, NAME_CHARACTERS),
        ("hello.capsule.settings.spec", about.settings.spec, SPEC_BYTES),
    ):
        if len(text) > most:
            raise InvalidArguments(f"{name} has {len(text)} characters, {most} is the most")
    if len(hello.running) > MOST_FRAMES:
        raise InvalidArguments(f"hello.running has {len(hello.running)} calls, {MOST_FRAMES} is the most")


def check_log_lines(asked: pool_pb2.ListLogLinesRequest) -> None:
    """Raises InvalidArguments."""
    for name, text in (("capsule", asked.capsule), ("worker", asked.worker), ("call_id", asked.call_id)):
        if len(text) > NAME_CHARACTERS:
            raise InvalidArguments(f"{name} has {len(text)} characters, {NAME_CHARACTERS} is the most")
    if not 0 <= asked.limit <= MOST_LINES:
        raise InvalidArguments(f"limit {asked.limit} can't be: {MOST_LINES} is the most, and 0 means {DEFAULT_LINES}")


def overlong(kind: str | None, frame: link_pb2.Frame) -> str:
    """What an agent's frame has too many of; empty: nothing."""
    if kind == "offer" and len(frame.offer.tools) > MOST_TOOLS:
        return f"the capsule offers {len(frame.offer.tools)} tools, {MOST_TOOLS} is the most"
    if kind == "report" and (count := len(frame.report.workers) + len(frame.report.leaving)) > MOST_WORKERS:
        return f"the capsule reports {count} workers, {MOST_WORKERS} is the most"
    if kind == "load" and len(frame.load.workers) > MOST_WORKERS:
        return f"the capsule reports the load of {len(frame.load.workers)} workers, {MOST_WORKERS} is the most"
    if kind == "log_lines_reply" and len(frame.log_lines_reply.lines) > MOST_LINES:
        return f"the capsule tells {len(frame.log_lines_reply.lines)} log lines, {MOST_LINES} is the most"
    if kind == "log_lines_reply" and (size := frame.log_lines_reply.ByteSize()) > MOST_LINE_BYTES:
        return f"the capsule tells log lines of {size} bytes, {MOST_LINE_BYTES} is the most"
    return ""


class Refusals:
    """Which refusals are worth a line: peers dial again and again, and each may make its refusal another one."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._minute = 0.0
        self._said = 0

    def line(self, message: str, now: float) -> str:
        """What to log; empty: nothing, it was said already, or too much was within this minute."""
        text = message if len(message) <= 2 * ECHOED else f"{message[: 2 * ECHOED - 1]}…"
        if text in self._seen:
            self._seen.move_to_end(text)
            return ""
        if now - self._minute >= 60.0:
            self._minute, self._said = now, 0
        self._said += 1
        if self._said > REFUSALS_A_MINUTE:
            return ""
        self._seen[text] = None
        if len(self._seen) > REFUSALS:
            self._seen.popitem(last=False)
        return f"{text} (further ones within this minute are not logged)" if self._said == REFUSALS_A_MINUTE else text
