"""A worker's Python stacks, as its faulthandler writes them: also while a step of C holds the interpreter, as a signal handler writes.

They are the author's process's own words: bounded, and good for a sentence to the caller, for nothing else.
"""

from __future__ import annotations

import logging
import math
import os
import re

from snakepit_agent.model.exits import FATAL

MOST_BYTES = 64 * 1024

FRESH_SECONDS = 60.0
"""Stacks that we have not asked for so lately were asked for by somebody with a shell."""

_TOGETHER_SECONDS = 0.1
"""What another call, which is being ended at the same time, asked for may still come, and is as good."""

_THREAD = re.compile(r"^(?:Current t|T)hread 0x([0-9a-f]+).*$", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_OURS = "snakepit_worker/"
_BEGINS = re.compile(r"^(?=(?:Current t|T)hread 0x)", re.MULTILINE)
_BOOTSTRAP = re.compile(r'/threading\.py", line \d+ in (?:run|_bootstrap|_bootstrap_inner)$')


def where(text: str, thread: int = 0) -> str:
    """Where a tool is, `digits/tools.py:12 in classify`; empty where that can't be told, also when it has not been entered.

    `thread`: of several that run tools the one that is meant; 0 finds the only one.
    """
    parts = _THREAD.split(text)
    stacks = {int(ident, 16): _FRAME.findall(frames) for ident, frames in zip(parts[1::2], parts[2::2], strict=True)}
    places = [place for ident, frames in stacks.items() if thread in (0, ident) and (place := _place(frames))]
    return places[0] if len(places) == 1 else ""


def tell(text: str, worker: str, log: logging.Logger) -> None:
    """In the log, of a worker that was killed; `text` may be empty."""
    if text:
        log.warning("worker %s wrote before it was killed:\n%s", worker, without_machinery(text), extra={"worker": worker})


def without_machinery(text: str) -> str:
    """For an author to read: neither our frames and threads, nor the list of extension modules that is written after a crash."""
    head, *threads = _BEGINS.split(text)
    told = [_authors(each) for each in threads]
    return "".join([head, *told]).rstrip() if any(told) else text


def _authors(thread: str) -> str:
    """A thread's frames that are the author's; empty, if none is."""
    kept = [each for each in thread.splitlines() if each and not each.startswith("Extension modules:") and not _is_machinery(each)]
    return "\n".join([*kept, "", ""]) if any(map(_FRAME.match, kept)) else ""


def _is_machinery(line: str) -> bool:
    frame = _FRAME.match(line)
    return frame is not None and (f"/{_OURS}" in frame[1] or frame[1] == "<frozen runpy>" or bool(_BOOTSTRAP.search(line)))


def _place(frames: list[tuple[str, str, str]]) -> str:
    """`frames`: file, line, function, the innermost first."""
    entry = next((n for n, (file, _, function) in enumerate(frames) if file.endswith(f"{_OURS}invoke.py") and function == "_execute"), 0)
    if not entry:
        return ""
    file, _, function = frames[entry - 1]
    if f"/{_OURS}" in file and function in ("begin", "_context"):
        return ""  # On its way to the tool: its session's hook, for one, runs before.
    file, line, function = frames[0]
    return f"{'/'.join(file.split('/')[-2:])}:{line} in {function}"


class Stacks:
    """The memory into which the worker writes them. Owns the descriptor, which may be any file, as the author's code can put one there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._asked = -math.inf

    def expect(self, now: float, *, anew: bool) -> None:
        """They are about to be asked for; `anew`: forget older ones."""
        if anew and now - self._asked > _TOGETHER_SECONDS:
            self._clear()
        self._asked = now

    def read(self) -> str:
        """The stacks that were written last."""
        try:
            size = os.fstat(self._descriptor).st_size
            return os.pread(self._descriptor, MOST_BYTES, max(0, size - MOST_BYTES)).decode(errors="replace")
        except OSError:
            return ""

    def unasked(self, now: float) -> str:
        """What somebody else asked for; told once."""
        try:
            if now - self._asked < FRESH_SECONDS or not os.fstat(self._descriptor).st_size:
                return ""
        except OSError:
            return ""
        text = self.read()
        if FATAL in text:
            return ""  # It is ending, of which somebody hears in a moment who needs this.
        if self._asked > -math.inf:
            text = ""
        self._asked = -math.inf
        self._clear()
        return text

    def _clear(self) -> None:
        """The worker's descriptor is this one's copy: the position is the same for both."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        except OSError:
            return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
