"""Owns what the person at the keyboard sees while something takes long: lines with the time since the start."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

REMINDER_SECONDS = 60.0

_started = time.monotonic()


def say(message: str) -> None:
    print(f"[{time.monotonic() - _started:6.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what begins, that it still goes on, and how long it took."""
    begun = time.monotonic()
    finished = threading.Event()
    say(f"{what} ...")
    reminder = threading.Thread(target=_remind, args=(what, begun, finished), daemon=True)
    reminder.start()
    try:
        yield
        say(f"{what}: done in {time.monotonic() - begun:.1f} s")
    finally:
        finished.set()


def _remind(what: str, begun: float, finished: threading.Event) -> None:
    while not finished.wait(REMINDER_SECONDS):
        say(f"{what}: at it for {time.monotonic() - begun:.0f} s")
